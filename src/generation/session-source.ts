/** @file A model as it is at one moment, for sessions that are opened later: neither switches nor steps reach them. */
import type { ParameterSnapshot } from '../models/fed-parameters.ts'
import type { GenerativeModel } from '../models/generator.ts'
import { limitsOf } from './options.ts'
import { longestInPieces } from './pieces.ts'
import { acquireProgram, type ProgramOptions } from './programs.ts'
import { DecodingSession, type SessionOptions } from './session.ts'
import { type GenerationTrace, generationTrace } from './trace.ts'

/** How a session is opened: what compiles it, and what is not known of the model. */
export type OpeningOptions = ProgramOptions & Pick<SessionOptions, 'padTokenId' | 'cacheBucket' | 'prefillChunk'>

/** A session, with the program that it runs on. */
export interface OpenSession extends AsyncDisposable {
  readonly session: DecodingSession
}

/** What a model computes, and the values of its parameters, when this was made. */
export class SessionSource {
  readonly trace: GenerationTrace
  /** The model without adapters, with which compiled programs are kept. */
  readonly base: object
  /** How many positions adapters take before every text. */
  readonly virtualTokens: number
  readonly #maxPositions: number
  readonly #wholeBeyond: number
  readonly #values: ParameterSnapshot
  readonly #preludeValues: ParameterSnapshot | undefined

  /** @param rowAdapters the adapters that rows choose among; by default all rows are computed with those that are active */
  constructor(model: GenerativeModel, rowAdapters?: readonly string[]) {
    this.trace = generationTrace(model, rowAdapters)
    const { fed, prelude } = this.trace
    this.base = model.getBaseModel?.() ?? model
    this.virtualTokens = prelude?.length ?? 0
    this.#maxPositions = limitsOf(model.config).maxPositions
    this.#wholeBeyond = longestInPieces(model) - this.virtualTokens
    this.#values = fed.snapshot()
    this.#preludeValues = prelude?.fed.snapshot()
  }

  /** Opens a session without rows. */
  async open(options: OpeningOptions): Promise<OpenSession> {
    const { trace, base } = this
    const { prelude, inputs, cache } = trace
    const program = await acquireProgram(base, trace, options)
    try {
      const { padTokenId, cacheBucket, prefillChunk } = options
      const session = new DecodingSession(program, {
        ...{ padTokenId, cacheBucket, prefillChunk, inputs, cache },
        maxPositions: this.#maxPositions,
        wholeBeyond: this.#wholeBeyond,
        prelude: prelude && {
          length: prelude.length,
          compute: async store => {
            // It runs once and is short: the engine need not keep the weights in a form of its own for it.
            using own = await acquireProgram(base, prelude, { ...options, mode: 'small' })
            await own.run(await this.#preludeValues!.feeds(), { store })
          },
        },
        parameters: await this.#values.feeds(),
      })
      return {
        session,
        async [Symbol.asyncDispose]() {
          await session[Symbol.asyncDispose]()
          program[Symbol.dispose]()
        },
      }
    } catch (error) {
      program[Symbol.dispose]()
      throw error
    }
  }
}
