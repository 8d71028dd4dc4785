/** @file How many tokens a language model guesses right, given those before. */
import type { TokenizedDataset } from '../../data/index.ts'
import { argmax, type Trainer } from '../../training/index.ts'

/** Examples that are predicted at once, since their scores are a vocabulary wide for each token. */
const PART = 64

/** The share of the labelled tokens that are the likeliest after what stands before them. */
export async function tokenAccuracy(trainer: Trainer, { features }: TokenizedDataset): Promise<number> {
  let [right, count] = [0, 0]
  for (let start = 0; start < features.length; start += PART) {
    const part = features.slice(start, start + PART)
    const { logits } = await trainer.predict(part)
    for (const [row, { labels }] of part.entries()) {
      const targets = labels as number[]
      const width = logits[row].length / targets.length
      for (let i = 1; i < targets.length; i++) {
        if (targets[i] < 0) continue
        count++
        if (argmax(logits[row].subarray((i - 1) * width, i * width)) === targets[i]) right++
      }
    }
  }
  return count === 0 ? 0 : right / count
}
