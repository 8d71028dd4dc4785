/** @file One generation: from prompts to new tokens, step by step. */
import type { FinishReason, GenerateOptions, GenerativeModel, Prompts } from '../models/generator.ts'
import { Random } from '../util/random.ts'
import { Decoder } from './decoder.ts'
import { forbid, penalizeRepetition } from './logits.ts'
import { type SpecialTokens, specialTokens } from './model-files.ts'
import { type GenerationSettings, resolveSettings } from './options.ts'
import { ParameterSnapshot } from './parameter-snapshot.ts'
import { acquireProgram } from './programs.ts'
import { checkPrompts } from './prompts.ts'
import { mostLikely, sample } from './sampling.ts'
import { StopStringDetector } from './stop-strings.ts'
import { type GenerationTrace, traceGeneration } from './trace.ts'

/** A new token of one row. */
export interface NewToken {
  row: number
  token: number
  /** Why the row ends with it, if it does. */
  finished?: FinishReason
}

/** A generation that was asked for: options are checked and the model is traced at once, tokens come later. */
export class Generation {
  readonly prompts: readonly (readonly number[])[]
  readonly #model: GenerativeModel
  readonly #settings: GenerationSettings
  readonly #trace: GenerationTrace
  readonly #values: ParameterSnapshot

  constructor(model: GenerativeModel, inputs: Prompts, options: GenerateOptions) {
    if (model.task !== 'CAUSAL_LM') {
      throw new Error(
        `generate: the model is for ${model.task ?? 'a task of its own'} and does not predict tokens; ` +
          'open it with AutoModelForCausalLM',
      )
    }
    this.#model = model
    this.#settings = resolveSettings(options, model.config)
    this.prompts = checkPrompts(inputs, this.#settings)
    this.#trace = traceGeneration(model)
    this.#values = new ParameterSnapshot(this.#trace.parameters)
  }

  /** The new tokens; one array a step, with those of the rows that have not ended. */
  async *steps(): AsyncGenerator<NewToken[], void> {
    const settings = this.#settings
    settings.signal?.throwIfAborted()
    const tokens = await specialTokens(this.#model, settings)
    const base = this.#model.getBaseModel?.() ?? this.#model
    using program = await acquireProgram(base, this.#trace, settings)
    const decoder = new Decoder(program, this.prompts, {
      ...settings,
      padTokenId: tokens.padTokenId,
      cache: this.#trace.cache,
      parameters: await this.#values.read(),
    })
    const rows = this.prompts.map((prompt, row) => new Row(prompt, row, settings, tokens))
    let logits = await decoder.prefill()
    while (true) {
      const step: NewToken[] = []
      for (const [row, state] of rows.entries()) {
        if (!state.finished) step.push({ row, ...state.next(logits[row]) })
      }
      yield step
      if (rows.every(row => row.finished)) return
      settings.signal?.throwIfAborted()
      logits = await decoder.step(rows.map(row => row.last))
    }
  }
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
  /** How many tokens there are, the prompt's included. */
  #length: number
  #added = 0

  constructor(prompt: readonly number[], index: number, settings: GenerationSettings, tokens: SpecialTokens) {
    const { seed, stopStrings, tokenizer } = settings
    this.#settings = settings
    this.#tokens = tokens
    this.#seen = new Set(prompt)
    this.#length = prompt.length
    // A row draws the same whether or not others end before it.
    this.#random = new Random(seed).fork(`row ${index}`)
    this.#stop = stopStrings.length ? new StopStringDetector(stopStrings, tokenizer!) : undefined
  }

  /** Chooses the next token by `logits`, which are changed. */
  next(logits: Float32Array): Omit<NewToken, 'row'> {
    const settings = this.#settings
    if (settings.repetitionPenalty !== 1) penalizeRepetition(logits, this.#seen, settings.repetitionPenalty)
    if (this.#added < settings.minNewTokens) forbid(logits, this.#tokens.eosTokenIds)
    const token = settings.doSample ? sample(logits, settings, this.#random) : mostLikely(logits)
    this.last = token
    this.#seen.add(token)
    this.#length++
    this.#added++
    const finished = this.#reason(token)
    this.finished = finished !== undefined
    return { token, finished }
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
