/** @file What predictions look like: the likeliest class, one JSON line a row. */
import { argmax } from '../training/index.ts'
import { writeFileAtomic } from '../util/files.ts'
import { formatCount } from './format.ts'
import type { Output } from './output.ts'

function softmax(scores: Float32Array): number[] {
  const highest = scores.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  const powers = Array.from(scores, score => Math.exp(score - highest))
  const sum = powers.reduce((a, b) => a + b, 0)
  return powers.map(power => power / sum)
}

/** The likeliest class, and how likely each is. */
export function namedScores(scores: Float32Array, labels: readonly string[]) {
  const probabilities = softmax(scores)
  const best = argmax(probabilities)
  return {
    label: labels[best],
    probability: probabilities[best],
    probabilities: Object.fromEntries(labels.map((label, i) => [label, probabilities[i]])),
  }
}

/** Writes one JSON line for each row, to `--out` or to stdout. */
export async function writeRows(
  predictions: readonly object[],
  { out }: { out?: string },
  output: Output,
): Promise<void> {
  if (out !== undefined) {
    await writeFileAtomic(out, predictions.map(prediction => `${JSON.stringify(prediction)}\n`).join(''))
    const line = `wrote ${formatCount(predictions.length)} predictions to ${out}`
    output.result({ command: 'predict', predictions: predictions.length, out }, [line])
    return
  }
  for (const prediction of predictions) {
    output.partial('prediction', { ...prediction }, `${JSON.stringify(prediction)}\n`)
  }
  output.result({ command: 'predict', predictions: predictions.length }, [])
}
