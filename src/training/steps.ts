/** @file Which examples each optimizer step sees, and how many steps there are. */
import { batches, epochOrder, lengthGroupedBatches } from '../data/index.ts'
import { hashString } from '../util/random.ts'
import type { TrainingArguments } from './arguments.ts'
import { lengthOf } from './evaluation.ts'

/** The steps of a training. */
export class StepPlan {
  /** Optimizer steps in one pass over the data. */
  readonly stepsPerEpoch: number
  /** Optimizer steps of the whole training. */
  readonly maxSteps: number
  readonly #args: TrainingArguments
  readonly #count: number
  readonly #lengths: number[] | undefined

  /**
   * @param grouped whether batches are of examples of similar lengths
   * @throws when every batch would be left out
   */
  constructor(items: readonly unknown[], args: TrainingArguments, grouped = args.groupByLength) {
    this.#args = args
    this.#count = items.length
    const lengths = grouped ? items.map(lengthOf) : [undefined]
    this.#lengths = lengths.every(length => length !== undefined) ? lengths : undefined
    this.stepsPerEpoch = this.epoch(0).length
    if (this.stepsPerEpoch === 0) {
      throw new Error(
        `There is no full batch: ${items.length} examples, perDeviceTrainBatchSize ${args.perDeviceTrainBatchSize} and ` +
          'dataloaderDropLast. Take smaller batches, or keep the last one.',
      )
    }
    this.maxSteps = args.maxSteps > 0 ? args.maxSteps : Math.ceil(args.numTrainEpochs * this.stepsPerEpoch)
  }

  /** The steps of one pass: for each its batches, each of which lists examples. */
  epoch(epoch: number): number[][][] {
    const { seed, perDeviceTrainBatchSize: size, gradientAccumulationSteps, dataloaderDropLast: dropLast } = this.#args
    const all = this.#lengths
      ? lengthGroupedBatches(this.#lengths, size, seed, epoch, { dropLast })
      : batches(epochOrder(this.#count, seed, epoch), size, { dropLast })
    const steps: number[][][] = []
    for (let i = 0; i < all.length; i += gradientAccumulationSteps)
      steps.push(all.slice(i, i + gradientAccumulationSteps))
    return steps
  }

  /** The seed of the random numbers in one pass: it follows from the training's seed, the step and the pass within it. */
  passSeed(step: number, pass: number): number {
    return hashString(`${this.#args.seed} step ${step} pass ${pass}`)
  }
}
