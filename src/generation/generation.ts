/** @file One generation that was asked for: its model, prompts and settings, ready to be read and continued. */
import type { ParameterSnapshot } from '../models/fed-parameters.ts'
import type { GenerateInputs, GenerateOptions, GenerativeModel, TokenDecoder } from '../models/generator.ts'
import type { TensorData } from '../runtime/index.ts'
import type { ChooserOptions } from './chooser.ts'
import { encodePrompts } from './encoder.ts'
import { generationDefaults, modelTokenizer, type SpecialTokens, specialTokens } from './model-files.ts'
import { checkGiven, type GenerationSettings, limitsOf, type ModelLimits, resolveSettings } from './options.ts'
import { acquireProgram } from './programs.ts'
import { checkPrompts, checkRecordings } from './prompts.ts'
import type { DecodingSession } from './session.ts'
import { SessionSource } from './session-source.ts'
import { ADAPTER_INDICES, sourceSpecs } from './trace.ts'

/** Prompts that were read. */
export interface ReadPrompts extends AsyncDisposable {
  session: DecodingSession
  /** What follows each prompt. */
  logits: Float32Array[]
  /** What chooses tokens behind a prompt is told. */
  chooserOptions(prompt: number): Omit<ChooserOptions, 'row'> & { settings: GenerationSettings }
}

/** A generation that was asked for: options are checked and the model is traced at once, the rest comes later. */
export class Generation {
  /** The tokens of each prompt; none where recordings were given. */
  readonly prompts: readonly (readonly number[])[]
  /** What the decoder reads before the new tokens: the prompts, or behind an encoder the start. Known once they were read. */
  beginnings: readonly (readonly number[])[]
  readonly #model: GenerativeModel
  readonly #options: GenerateOptions
  readonly #limits: ModelLimits
  readonly #source: SessionSource
  readonly #encoderValues: ParameterSnapshot | undefined
  /** Which adapter computes each row, where they differ. */
  readonly #rows: Readonly<Record<string, TensorData>>
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
    this.#source = new SessionSource(model, rows?.names)
    const { virtualTokens } = this.#source
    const { encoder } = this.#source.trace
    this.#options = options
    const { vocabSize, maxPositions } = limitsOf(model.config)
    this.#limits = { vocabSize, maxPositions: maxPositions - virtualTokens }
    checkGiven(options, this.#limits)
    const features = encoder && sourceSpecs(model).input_features
    this.#recordings = features && checkRecordings(inputs, features.shape)
    this.prompts = this.#recordings
      ? Array.from({ length: this.#recordings.dims[0] }, () => [])
      : checkPrompts(inputs, this.#limits, virtualTokens)
    this.beginnings = this.prompts
    if (rows && rows.indices.data.length !== this.prompts.length) {
      throw new Error(
        `generate: adapterNames names an adapter for each prompt: got ${rows.indices.data.length} names for ${this.prompts.length} prompts`,
      )
    }
    this.#rows = rows ? { [ADAPTER_INDICES]: rows.indices } : {}
    this.#encoderValues = encoder?.fed.snapshot()
  }

  /** The options, completed by what the model's folder says. Throws when they contradict each other. */
  async settings(): Promise<GenerationSettings> {
    this.#options.signal?.throwIfAborted()
    const defaults = await generationDefaults(this.#model, this.#options)
    const settings = resolveSettings(this.#options, this.#limits, defaults)
    if (settings.stopStrings.length) settings.tokenizer ??= await this.#tokenizer()
    return settings
  }

  /** Reads the prompts. */
  async read(settings: GenerationSettings): Promise<ReadPrompts> {
    const tokens = specialTokens(this.#model, settings)
    if (this.#source.trace.encoder) {
      const beginning = settings.decoderInputIds ?? [decoderStart(tokens, this.#model)]
      this.beginnings = this.prompts.map(() => beginning)
    }
    const constants = await this.#encode(tokens, settings)
    const open = await this.#source.open({ ...settings, padTokenId: tokens.padTokenId })
    const { session } = open
    try {
      const logits = await session.join(this.beginnings, { ...constants, ...this.#rows })
      const chooserOptions = (prompt: number) => ({
        settings,
        tokens,
        beginning: this.beginnings[prompt],
        source: this.#recordings ? undefined : this.prompts[prompt],
      })
      return { session, logits, chooserOptions, [Symbol.asyncDispose]: () => open[Symbol.asyncDispose]() }
    } catch (error) {
      await open[Symbol.asyncDispose]()
      throw error
    }
  }

  /** What an encoder makes of the prompts; undefined for a model that has none. */
  async #encode(
    { padTokenId }: SpecialTokens,
    settings: GenerationSettings,
  ): Promise<Record<string, TensorData> | undefined> {
    const { base, trace } = this.#source
    const { encoder } = trace
    if (!encoder) return undefined
    using program = await acquireProgram(base, encoder, settings)
    const parameters = await this.#encoderValues!.feeds()
    const recordings = this.#recordings
    if (recordings) return program.run({ ...this.#rows, input_features: recordings, ...parameters })
    return encodePrompts(program, this.prompts, { padTokenId, parameters, inputs: this.#rows })
  }

  async #tokenizer(): Promise<TokenDecoder> {
    try {
      return await modelTokenizer(this.#model)
    } catch (cause) {
      const { message } = cause as Error
      throw new Error(
        `generate: stopStrings were given without a tokenizer, which is needed to find them (${message})`,
        { cause },
      )
    }
  }
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
