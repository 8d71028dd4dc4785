/** @file Which adapters can be computed in one batch, and which need batches of their own. */
import { generationTrace } from '../generation/trace.ts'
import type { PreTrainedModel } from '../models/index.ts'
import { BASE_ROW, PeftModel } from '../peft/index.ts'
import type { RowRequest } from './backend.ts'
import { type BatchOptions, openModelBatch } from './model-batch.ts'
import type { Batch } from './scheduler.ts'

/** A model, with adapters or without. */
export type GeneratingModel = PreTrainedModel | PeftModel<PreTrainedModel>

/** The lane of the base and of the adapters that rows of one batch can have. */
const SHARED = 'shared'

/** The lanes of a model's adapters. */
export interface Lanes {
  /** The lane of an adapter, {@link BASE_ROW} for the base. */
  laneOf(adapter: string): string
  /** @param adapterOf the adapter that a request wants */
  open(lane: string, adapterOf: (request: RowRequest) => string, options: BatchOptions): Promise<Batch>
  /** Adapters that are computed in batches of their own. */
  readonly exclusive: readonly string[]
  /** How many positions stand in front of every text of an adapter. */
  virtualTokens(adapter: string): number
}

/** Finds out which adapters rows can have. The model's active adapters are changed by this, and by opening lanes. */
export function findLanes(model: GeneratingModel): Lanes {
  if (!(model instanceof PeftModel)) {
    return {
      laneOf: () => SHARED,
      open: (_lane, _adapterOf, options) => openModelBatch(model, options),
      exclusive: [],
      virtualTokens: () => 0,
    }
  }
  const names = model.adapterNames()
  const shared = sharedAdapters(model)
  const hasSharedBase = shared.length > 0 || names.length === 0
  const exclusive = names.filter(name => !shared.includes(name))
  return {
    laneOf: adapter => (shared.includes(adapter) || (adapter === BASE_ROW && hasSharedBase) ? SHARED : adapter),
    async open(lane, adapterOf, options) {
      if (lane === BASE_ROW || names.length === 0) {
        return model.disableAdapter(() => openModelBatch(model, options))
      }
      model.setAdapter(lane === SHARED ? [] : lane)
      return openModelBatch(model, lane === SHARED ? { ...options, rows: { adapters: shared, adapterOf } } : options)
    },
    exclusive,
    virtualTokens(adapter) {
      if (!exclusive.includes(adapter)) return 0
      model.setAdapter(adapter)
      return generationTrace(model).prelude?.length ?? 0
    },
  }
}

/** The adapters that rows of one batch can have, found by trying. */
function sharedAdapters(model: PeftModel<PreTrainedModel>): string[] {
  const canShare = (adapters: readonly string[]) => {
    model.setAdapter([])
    try {
      generationTrace(model, adapters)
      return true
    } catch {
      // Why it cannot be is of no interest: batches of its own are the answer.
      return false
    }
  }
  const able = model.adapterNames().filter(name => model.adapter(name).method.can.mixedBatch)
  if (able.length === 0) return []
  if (canShare(able)) return able
  const each = able.filter(name => canShare([name]))
  return each.length && canShare(each) ? each : []
}
