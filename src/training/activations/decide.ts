/** @file Decides whether what frozen layers compute is kept, and where. */
import type { ParameterVector } from '../../nn/index.ts'
import type { TrainingArguments } from '../arguments.ts'
import { rowsOf } from '../collate.ts'
import type { TrainableModel } from '../model.ts'
import type { StepPlan } from '../steps.ts'
import type { ExampleBatches } from './batches.ts'
import { knownAxes, ownSize, type Place } from './places.ts'
import { FrozenPrefix, type KeptTensor, type PrefixCosts } from './prefix.ts'

/** What is needed to decide. */
export interface DecisionOptions {
  model: TrainableModel
  args: TrainingArguments
  vector: ParameterVector
  plan: StepPlan
  /** Whether examples share rows. */
  isPacked: boolean
  /** Whether the collator is the caller's own, which may give another batch each time. */
  isOwnCollator: boolean
  /** Where a file may be written to; by default in the system's folder for temporary files. */
  folder: string | undefined
  onWarning(message: string): void
}

/** What is going to be kept. */
export interface Decision {
  prefix: FrozenPrefix
  bytes: number
  where: 'memory' | 'disk'
  /** The share of all operations of the training that is saved. */
  saved: number
}

const MB = 1e6
/** The share of all operations of a training that must be saved to be worth a second program. */
const WORTHWHILE = 0.1
/** The operations that must be saved: below a second of work, which compiling takes too. */
const LEAST_SAVED = 3e10
/** The share of a step below which nothing is kept even where it was asked for. */
const LEAST_SHARE = 0.05
/** Unasked, so many times the limit in memory are written to disk. */
const DISK_FACTOR = 16

/** Decides; a text says why nothing is kept. */
export async function decide<E>(options: DecisionOptions, batches: ExampleBatches<E>): Promise<Decision | string> {
  const { args, plan, isOwnCollator, model, isPacked } = options
  const isAsked = args.cacheActivations !== 'auto'
  const passes = plan.maxSteps / plan.stepsPerEpoch
  if (!isAsked && (passes <= 1 || isOwnCollator)) return 'it was not asked for'
  const planned = plan.epoch(0).flat()
  const example = batches.inputs(planned[0])
  if (!isPacked && rowsOf(example) !== planned[0].length) return 'examples have more than one row in a batch'
  const axes = isPacked ? [batches.tokenAxis] : knownAxes(example, model.inputSpecs())
  const { prefix, withoutDropout } = FrozenPrefix.find({ ...options, example, axes })
  if (!prefix || !isLarge(prefix.costs)) return whyNot(withoutDropout)
  const { saved, total } = prefix.costs
  const share = Math.max(0, (saved * (passes - 1)) / (total * passes))
  const operations = saved * planned.length * (passes - 1)
  if (!isAsked && (share < WORTHWHILE || operations < LEAST_SAVED)) return 'it does not pay'
  const bytes = sizeOfAll(batches, prefix.kept)
  const place = await placeOf(options, bytes)
  return 'reason' in place ? place.reason : { prefix, bytes, where: place.where, saved: share }
}

const isLarge = ({ saved, total }: PrefixCosts) => saved >= LEAST_SHARE * total

function whyNot(withoutDropout: PrefixCosts | undefined): string {
  if (withoutDropout && isLarge(withoutDropout)) {
    return (
      'dropout is active in the frozen layers, so what they compute of an example differs from step to step. Set the ' +
      "probabilities of dropout in the model's configuration to 0 (hidden_dropout_prob, attention_probs_dropout_prob " +
      'and the like)'
    )
  }
  return (
    'almost everything that is computed depends on what trains, or has no row of its own for each example. Train only ' +
    'the upper layers (layersToTransform) or the head'
  )
}

/** The bytes of what is kept of all examples. */
function sizeOfAll<E>(batches: ExampleBatches<E>, kept: readonly KeptTensor[]): number {
  const sizeAt = (place: Place) => kept.reduce((sum, { shape }) => sum + 4 * ownSize(shape, place), 0)
  const isFixed = kept.every(({ shape }) => shape.slice(1).every(dim => typeof dim === 'number'))
  if (isFixed) return batches.count * sizeAt({ row: 0, spans: {} })
  let bytes = 0
  for (const examples of batches.all()) {
    for (const place of batches.places(batches.inputs(examples), examples)) bytes += sizeAt(place)
  }
  return bytes
}

async function placeOf(
  { args, folder, onWarning }: DecisionOptions,
  bytes: number,
): Promise<{ where: Decision['where'] } | { reason: string }> {
  const { cacheActivations: wanted, cacheActivationsMemory } = args
  const limit = cacheActivationsMemory * MB
  if (wanted !== 'disk' && bytes <= limit) return { where: 'memory' }
  // Loaded when needed, so that a browser can train models without Node's modules.
  const { FileStore } = await import('./file-store.ts')
  const free = (await FileStore.freeSpace(folder)) ?? Number.POSITIVE_INFINITY
  const size = megabytes(bytes)
  if (bytes > free / 2) {
    return {
      reason: `they take ${size}, and ${folder ?? 'the folder for temporary files'} has ${megabytes(free)} free`,
    }
  }
  if (wanted === 'auto' && bytes > DISK_FACTOR * limit) return { reason: `they take ${size}` }
  if (wanted === 'memory') {
    onWarning(`Activations take ${size}, cacheActivationsMemory is ${megabytes(limit)}: they are kept in a file.`)
  }
  return { where: 'disk' }
}

const megabytes = (bytes: number) => `${(bytes / MB).toFixed(bytes < 100 * MB ? 1 : 0)} MB`
