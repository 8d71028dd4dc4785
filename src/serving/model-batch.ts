/** @file A batch that a model computes: rows of one lane, each with its adapter where the lane has several. */
import { specialTokens } from '../generation/model-files.ts'
import { DEFAULTS, limitsOf } from '../generation/options.ts'
import type { ProgramOptions } from '../generation/programs.ts'
import { SessionSource } from '../generation/session-source.ts'
import { ADAPTER_INDICES } from '../generation/trace.ts'
import type { GenerativeModel } from '../models/generator.ts'
import { rowIndices } from '../peft/rows.ts'
import type { RowRequest } from './backend.ts'
import type { Batch } from './scheduler.ts'

/** What a batch is opened with. */
export interface BatchOptions extends ProgramOptions {
  /** How many positions of prompts are read between two steps. */
  prefillChunk: number
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
  const source = new SessionSource(model, rows?.adapters)
  const { vocabSize } = limitsOf(model.config)
  const { padTokenId } = specialTokens(model, { vocabSize })
  const open = await source.open({ ...options, padTokenId, cacheBucket: DEFAULTS.cacheBucket })
  const { session } = open
  return {
    async read(requests) {
      const reading = await session.read(
        requests.map(({ prompt }) => prompt),
        rows && { [ADAPTER_INDICES]: rowIndices(requests.map(rows.adapterOf), rows.adapters) },
      )
      return {
        async next() {
          await reading.next()
          return reading.isRead
        },
        join: kept => session.add(reading, kept),
        drop: () => reading[Symbol.asyncDispose](),
      }
    },
    step: tokens => session.step(tokens),
    select: kept => session.select(kept),
    async close() {
      await open[Symbol.asyncDispose]()
    },
  }
}
