/** @file A batch that a model computes: rows of one lane, each with its adapter where the lane has several. */
import { specialTokens } from '../generation/model-files.ts'
import { limitsOf } from '../generation/options.ts'
import { acquireProgram, type ProgramOptions } from '../generation/programs.ts'
import { DecodingSession } from '../generation/session.ts'
import { ADAPTER_INDICES, generationTrace } from '../generation/trace.ts'
import type { GenerativeModel } from '../models/generator.ts'
import { rowIndices } from '../peft/rows.ts'
import type { RowRequest } from './backend.ts'
import type { Batch } from './scheduler.ts'

/** How many positions the cache grows by. */
const CACHE_BUCKET = 64

/** What a batch is opened with. */
export interface BatchOptions extends ProgramOptions {
  /** The adapters that rows can have, and which of them a request wants; by default all rows are computed alike. */
  rows?: { adapters: readonly string[]; adapterOf(request: RowRequest): string }
}

/**
 * Opens a batch of `model` as it is now: later switches of adapters do not change it.
 *
 * @throws when the model does not predict tokens, or rows cannot have these adapters
 */
export async function openModelBatch(model: GenerativeModel, { rows, ...options }: BatchOptions): Promise<Batch> {
  // All adapters are named whichever rows there are, so that one program serves every batch.
  const trace = generationTrace(model, rows?.adapters)
  const { prelude, fed, inputs, cache } = trace
  const values = fed.snapshot()
  const preludeValues = prelude?.fed.snapshot()
  const base = model.getBaseModel?.() ?? model
  const { vocabSize, maxPositions } = limitsOf(model.config)
  const { padTokenId } = specialTokens(model, { vocabSize })
  const program = await acquireProgram(base, trace, options)
  try {
    const session = new DecodingSession(program, {
      padTokenId,
      inputs,
      cache,
      cacheBucket: CACHE_BUCKET,
      maxPositions,
      prelude: prelude && {
        length: prelude.length,
        compute: async store => {
          // It runs once and is short: the engine need not keep the weights in a form of its own for it.
          using own = await acquireProgram(base, prelude, { ...options, mode: 'small' })
          await own.run(await preludeValues!.feeds(), { store })
        },
      },
      parameters: await values.feeds(),
    })
    return {
      join: (requests, kept) =>
        session.join(
          requests.map(({ prompt }) => prompt),
          rows && { [ADAPTER_INDICES]: rowIndices(requests.map(rows.adapterOf), rows.adapters) },
          kept,
        ),
      step: tokens => session.step(tokens),
      select: kept => session.select(kept),
      async close() {
        await session[Symbol.asyncDispose]()
        program[Symbol.dispose]()
      },
    }
  } catch (error) {
    program[Symbol.dispose]()
    throw error
  }
}
