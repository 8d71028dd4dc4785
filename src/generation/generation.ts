/** @file One generation: from prompts to new tokens, step by step. */
import type { ParameterSnapshot } from '../models/fed-parameters.ts'
import type { FinishReason, GenerateInputs, GenerateOptions, GenerativeModel } from '../models/generator.ts'
import type { TensorData } from '../runtime/index.ts'
import { Random } from '../util/random.ts'
import { encodePrompts } from './encoder.ts'
import { forbid, penalizeRepetition } from './logits.ts'
import { type SpecialTokens, specialTokens } from './model-files.ts'
import { type GenerationSettings, resolveSettings } from './options.ts'
import { acquireProgram } from './programs.ts'
import { checkPrompts, checkRecordings } from './prompts.ts'
import { mostLikely, sample } from './sampling.ts'
import { DecodingSession, type Prelude } from './session.ts'
import { StopStringDetector } from './stop-strings.ts'
import { ADAPTER_INDICES, type GenerationTrace, generationTrace, sourceSpecs } from './trace.ts'

/** A new token of one row. */
export interface NewToken {
  row: number
  token: number
  /** Why the row ends with it, if it does. */
  finished?: FinishReason
}

/** A generation that was asked for: options are checked and the model is traced at once, tokens come later. */
export class Generation {
  /** The tokens of each prompt; none where recordings were given. */
  readonly prompts: readonly (readonly number[])[]
  /** What the decoder reads before the new tokens: the prompts, or behind an encoder the start. Known once steps run. */
  beginnings: readonly (readonly number[])[]
  readonly #model: GenerativeModel
  readonly #settings: GenerationSettings
  readonly #trace: GenerationTrace
  readonly #values: ParameterSnapshot
  readonly #encoderValues: ParameterSnapshot | undefined
  readonly #preludeValues: ParameterSnapshot | undefined
  /** Which adapter computes each row, where they differ. */
  readonly #rows: Readonly<Record<string, TensorData>>
  /** How many positions adapters take before every text. */
  readonly #virtualTokens: number
  /** The spectrograms of recordings, for a model that hears. */
  readonly #recordings: TensorData | undefined

  constructor(model: GenerativeModel, inputs: GenerateInputs, options: GenerateOptions) {
    if (model.task !== 'CAUSAL_LM' && model.task !== 'SEQ_2_SEQ_LM') {
      throw new Error(
        `generate: the model is for ${model.task ?? 'a task of its own'} and does not predict tokens; ` +
          'open it with AutoModelForCausalLM or AutoModelForSeq2SeqLM',
      )
    }
    if (model.task === 'CAUSAL_LM') refuseDecoderOptions(options)
    this.#model = model
    const rows = options.adapterNames && rowsOf(model, options.adapterNames)
    this.#trace = generationTrace(model, rows?.names)
    const { fed, encoder, prelude } = this.#trace
    this.#virtualTokens = prelude?.length ?? 0
    this.#settings = behind(resolveSettings(options, model.config), this.#virtualTokens)
    const features = encoder && sourceSpecs(model).input_features
    this.#recordings = features && checkRecordings(inputs, features.shape)
    this.prompts = this.#recordings
      ? Array.from({ length: this.#recordings.dims[0] }, () => [])
      : checkPrompts(inputs, this.#settings, this.#virtualTokens)
    this.beginnings = this.prompts
    if (rows && rows.indices.data.length !== this.prompts.length) {
      throw new Error(
        `generate: adapterNames names an adapter for each prompt: got ${rows.indices.data.length} names for ${this.prompts.length} prompts`,
      )
    }
    this.#rows = rows ? { [ADAPTER_INDICES]: rows.indices } : {}
    this.#values = fed.snapshot()
    this.#encoderValues = encoder?.fed.snapshot()
    this.#preludeValues = prelude?.fed.snapshot()
  }

  /** The new tokens; one array a step, with those of the rows that have not ended. */
  async *steps(): AsyncGenerator<NewToken[], void> {
    const settings = this.#settings
    settings.signal?.throwIfAborted()
    const tokens = await specialTokens(this.#model, settings)
    if (this.#trace.encoder) {
      const beginning = settings.decoderInputIds ?? [decoderStart(tokens, this.#model)]
      this.beginnings = this.prompts.map(() => beginning)
    }
    const constants = await this.#encode(tokens)
    using program = await acquireProgram(this.#base, this.#trace, settings)
    await using session = new DecodingSession(program, {
      ...settings,
      maxPositions: settings.maxPositions + this.#virtualTokens,
      prelude: this.#prelude(),
      padTokenId: tokens.padTokenId,
      inputs: this.#trace.inputs,
      cache: this.#trace.cache,
      parameters: await this.#values.feeds(),
    })
    const rows = this.beginnings.map((beginning, row) => new Row(beginning, row, settings, tokens))
    let logits = await session.join(this.beginnings, { ...constants, ...this.#rows })
    let active = [...rows.keys()]
    while (true) {
      const step: NewToken[] = []
      for (const [i, row] of active.entries()) {
        if (!rows[row].finished) step.push({ row, ...rows[row].next(logits[i]) })
      }
      yield step
      const left = active.filter(row => !rows[row].finished)
      if (left.length === 0) return
      settings.signal?.throwIfAborted()
      // Moving rows costs about as much as a step: it is worth it when many have ended.
      if (left.length <= active.length / 2) {
        await session.select(left.map(row => active.indexOf(row)))
        active = left
      }
      logits = await session.step(active.map(row => rows[row].last))
    }
  }

  /** The model without adapters, with which compiled programs are kept. */
  get #base(): object {
    return this.#model.getBaseModel?.() ?? this.#model
  }

  /** The keys and values of what stands before every text; undefined where there is nothing. */
  #prelude(): Prelude | undefined {
    const { prelude } = this.#trace
    if (!prelude) return undefined
    return {
      length: prelude.length,
      compute: async store => {
        // It runs once and is short: the engine need not keep the weights in a form of its own for it.
        using program = await acquireProgram(this.#base, prelude, { ...this.#settings, mode: 'small' })
        await program.run(await this.#preludeValues!.feeds(), { store })
      },
    }
  }

  /** What an encoder makes of the prompts; undefined for a model that has none. */
  async #encode({ padTokenId }: SpecialTokens): Promise<Record<string, TensorData> | undefined> {
    const { encoder } = this.#trace
    if (!encoder) return undefined
    using program = await acquireProgram(this.#base, encoder, this.#settings)
    const parameters = await this.#encoderValues!.feeds()
    const recordings = this.#recordings
    if (recordings) return program.run({ ...this.#rows, input_features: recordings, ...parameters })
    return encodePrompts(program, this.prompts, { padTokenId, parameters, inputs: this.#rows })
  }
}

/** The settings of texts behind virtual tokens, which take positions too. */
function behind(settings: GenerationSettings, virtualTokens: number): GenerationSettings {
  return { ...settings, maxPositions: settings.maxPositions - virtualTokens }
}

/** The adapters of rows that name them. */
function rowsOf(model: GenerativeModel, names: readonly string[]) {
  if (model.adapterRows) return model.adapterRows(names)
  throw new Error('generate: adapterNames was given for a model without adapters; put some on it with getPeftModel')
}

/** Options that only the decoder behind an encoder has. */
function refuseDecoderOptions({ decoderInputIds, decoderStartTokenId, forcedBosTokenId }: GenerateOptions): void {
  for (const [name, value] of Object.entries({ decoderInputIds, decoderStartTokenId, forcedBosTokenId })) {
    if (value === undefined || value === null) continue
    throw new Error(
      `generate: ${name} is ${value}, but the model has no encoder: its texts begin with their prompts; leave it out`,
    )
  }
}

function decoderStart({ decoderStartTokenId }: SpecialTokens, { config }: GenerativeModel): number {
  if (decoderStartTokenId !== null) return decoderStartTokenId
  throw new Error(
    `generate: ${config.label} has no "decoder_start_token_id", which the decoder reads first; give decoderStartTokenId`,
  )
}

/** One text on its way. */
class Row {
  finished = false
  /** The newest token. */
  last = 0
  readonly #settings: GenerationSettings
  readonly #tokens: SpecialTokens
  /** Every token that occurred, once. */
  readonly #seen: Set<number>
  readonly #random: Random
  readonly #stop: StopStringDetector | undefined
  /** How many tokens the decoder has to read, those of the beginning included. */
  #length: number
  #added = 0

  constructor(beginning: readonly number[], index: number, settings: GenerationSettings, tokens: SpecialTokens) {
    const { seed, stopStrings, tokenizer } = settings
    this.#settings = settings
    this.#tokens = tokens
    this.#seen = new Set(beginning)
    this.#length = beginning.length
    // A row draws the same whether or not others end before it.
    this.#random = new Random(seed).fork(`row ${index}`)
    this.#stop = stopStrings.length ? new StopStringDetector(stopStrings, tokenizer!) : undefined
  }

  /** Chooses the next token by `logits`, which are changed. */
  next(logits: Float32Array): Omit<NewToken, 'row'> {
    const settings = this.#settings
    const forced = this.#forced()
    if (settings.repetitionPenalty !== 1) penalizeRepetition(logits, this.#seen, settings.repetitionPenalty)
    forbid(logits, this.#tokens.suppressTokens)
    if (this.#added === 0) forbid(logits, this.#tokens.beginSuppressTokens)
    if (this.#added < settings.minNewTokens) forbid(logits, this.#tokens.eosTokenIds)
    const token = forced ?? (settings.doSample ? sample(logits, settings, this.#random) : mostLikely(logits))
    this.last = token
    this.#seen.add(token)
    this.#length++
    this.#added++
    const finished = this.#reason(token)
    this.finished = finished !== undefined
    return { token, finished }
  }

  /** The token that must come now, whatever the model says. */
  #forced(): number | null {
    const { forcedBosTokenId, forcedEosTokenId } = this.#tokens
    const isLast = this.#added === this.#settings.maxNewTokens - 1
    return (this.#added === 0 ? forcedBosTokenId : null) ?? (isLast ? forcedEosTokenId : null)
  }

  #reason(token: number): FinishReason | undefined {
    const { maxNewTokens, maxPositions } = this.#settings
    if (this.#tokens.eosTokenIds.includes(token)) return 'eos'
    if (this.#stop?.push(token)) return 'stop_string'
    if (this.#added >= maxNewTokens) return 'length'
    // The newest token has to be read to choose another, and there is no position for it.
    return this.#length > maxPositions ? 'context_length' : undefined
  }
}
