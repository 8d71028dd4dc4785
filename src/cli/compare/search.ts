/** @file Finding a learning rate for each method: short trainings on a part of the data, judged on the rest. */
import { Trainer, type TrainingArgumentsOptions } from '../../training/index.ts'
import type { TrainingData } from '../training-data.ts'
import type { TunedModel } from '../tuning.ts'

/** Factors on the rate that a method recommends: small models bear more than that. */
const FACTORS = [1, 3, 10, 30]

/** The share of the training data that judges. */
const JUDGING = 0.15

/** What is tried. */
export interface RateSearch {
  /** The rate around which others are tried. */
  learningRate: number
  /** How long each training is. */
  steps: number
  train: TrainingData['train']
  /** A fresh model for each try. */
  create(): Promise<TunedModel>
  args: TrainingArgumentsOptions
  padTokenId: number | undefined
  signal?: AbortSignal
}

/** The rate with the lowest loss on data that was kept from the short trainings; a try that diverges counts as lost. */
export async function searchRate(search: RateSearch): Promise<number> {
  const { features } = search.train
  const judging = Math.max(1, Math.round(features.length * JUDGING))
  let best = { rate: search.learningRate, loss: Number.POSITIVE_INFINITY }
  for (const factor of FACTORS) {
    search.signal?.throwIfAborted()
    const rate = Number((search.learningRate * factor).toPrecision(3))
    const loss = await tryRate(search, rate, judging).catch(error => {
      search.signal?.throwIfAborted()
      if ((error as Error).name === 'NonFiniteError') return Number.POSITIVE_INFINITY
      throw error
    })
    if (loss < best.loss) best = { rate, loss }
  }
  return best.rate
}

async function tryRate(
  { train, steps, create, args, padTokenId, signal }: RateSearch,
  rate: number,
  judging: number,
): Promise<number> {
  const model = await create()
  const trainer = new Trainer({
    model,
    padTokenId,
    args: { ...args, learningRate: rate, maxSteps: steps },
    trainDataset: train.features.slice(judging),
  })
  await trainer.train({ signal })
  const { eval_loss } = await trainer.evaluate(train.features.slice(0, judging), { signal })
  return Number.isFinite(eval_loss) ? eval_loss : Number.POSITIVE_INFINITY
}
