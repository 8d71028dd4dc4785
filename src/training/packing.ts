/** @file Texts that share rows: whether that is right for a model and its data, and whether it pays. */
import { type Feature, packBatch, packRows } from '../data/index.ts'
import { hostOf } from '../peft/hosts.ts'
import { PeftModel } from '../peft/index.ts'
import type { TrainingArguments } from './arguments.ts'
import type { DataCollator, PaddingOptions } from './collate.ts'
import type { TrainableModel, TrainingTask } from './model.ts'
import type { StepPlan } from './steps.ts'

/** The share of all positions that packing must save to be worth its masks. */
const WORTHWHILE = 0.05

/** What a training's batches are made of. */
export interface PassOptions<E> {
  model: TrainableModel
  task: TrainingTask | undefined
  args: Pick<TrainingArguments, 'packing' | 'padToMultipleOf'>
  train: { items: readonly E[] }
  /** Gives each example a row. */
  collate: DataCollator<E>
  /** How rows are filled up; undefined where `collate` is the caller's own. */
  padding: PaddingOptions | undefined
}

/**
 * The collator of a training's passes: `collate`, or one that lets the texts of a batch share rows. They do where
 * everything that is computed of a text depends on its own tokens alone, and it saves enough in the first pass over the
 * data: the loss and its gradient are the same, of fewer positions.
 */
export function passCollator<E>(options: PassOptions<E>, plan: Pick<StepPlan, 'epoch'>): DataCollator<E> {
  const { model, args, train, collate, padding } = options
  if (!padding || !mayPack(options)) return collate
  const lengths = (train.items as readonly unknown[] as readonly Feature[]).map(({ inputIds }) => inputIds.length)
  if (savedBy(lengths, plan, args.padToMultipleOf) < WORTHWHILE) return collate
  const takesPositions = model.inputSpecs().position_ids !== undefined
  const { padTokenId = 0, padToMultipleOf } = padding
  return examples => {
    const { position_ids, ...batch } = packBatch(examples as readonly unknown[] as readonly Feature[], {
      padTokenId,
      padToMultipleOf,
    })
    return takesPositions ? { ...batch, position_ids } : batch
  }
}

/**
 * Whether the texts of a batch may share rows. Then batches need not be of similar lengths: the rows are as full, and each
 * batch is drawn from all examples.
 */
export function mayPack<E>(options: PassOptions<E>): boolean {
  return options.args.packing && options.padding !== undefined && canPack(options)
}

/** Whether the model keeps texts of a row apart, its adapters too, and the examples are plain texts. */
function canPack<E>({ model, task, train }: PassOptions<E>): boolean {
  const inputs = model.inputSpecs()
  if (task !== 'CAUSAL_LM' || !inputs.segment_ids) return false
  const peft = model instanceof PeftModel ? model : hostOf(model)
  if (peft && !peft.keepsTokensApart()) return false
  return (train.items as readonly unknown[] as readonly Partial<Feature>[]).every(
    ({ inputIds, labels, attentionMask, tokenTypeIds }) =>
      inputIds &&
      Array.isArray(labels) &&
      !attentionMask?.some(attended => attended !== 1) &&
      !(tokenTypeIds && (inputs.token_type_ids || tokenTypeIds.some(type => type !== 0))),
  )
}

/** The share of a pass's positions that packing saves. */
function savedBy(lengths: readonly number[], plan: Pick<StepPlan, 'epoch'>, multiple: number): number {
  let [apart, packed] = [0, 0]
  for (const texts of plan.epoch(0).flat()) {
    const own = texts.map(i => lengths[i])
    const width = Math.ceil(Math.max(...own) / multiple)
    apart += own.length * width
    packed += packRows(own).length * width
  }
  return 1 - packed / apart
}
