/** @file Metrics of predictions against labels, as scikit-learn defines them. */

/** Classes by number. */
type Classes = ArrayLike<number>

/** Options of {@link f1Score}. */
export interface F1Options {
  /** `binary`: of the class `posLabel` alone; `macro`: the plain mean over all classes that occur. */
  average?: 'binary' | 'macro'
  /** The class that counts as positive; 1 by default. */
  posLabel?: number
}

/** The position of the largest of `values`; the first of several, -1 for none. NaN counts as larger than any number. */
export function argmax(values: ArrayLike<number>): number {
  let best = values.length ? 0 : -1
  for (let i = 1; i < values.length; i++) {
    if (Number.isNaN(values[best])) break
    if (!(values[i] <= values[best])) best = i
  }
  return best
}

/** The share of predictions that equal their label. Throws for none, or for a different number of the two. */
export function accuracy(predictions: Classes, labels: Classes): number {
  const total = sameLength('accuracy', predictions, labels)
  let right = 0
  for (let i = 0; i < total; i++) if (predictions[i] === labels[i]) right++
  return right / total
}

/**
 * F1, the harmonic mean of precision and recall: `2 tp / (2 tp + fp + fn)`, and 0 where a class occurs neither in the
 * predictions nor in the labels. Throws for no predictions, or for a different number of predictions and labels.
 */
export function f1Score(predictions: Classes, labels: Classes, options: F1Options = {}): number {
  const { average = 'binary', posLabel = 1 } = options
  const total = sameLength('f1Score', predictions, labels)
  const ofClass = (label: number) => {
    let [hits, occurrences] = [0, 0]
    for (let i = 0; i < total; i++) {
      if (predictions[i] === label) occurrences++
      if (labels[i] === label) occurrences++
      if (predictions[i] === label && labels[i] === label) hits++
    }
    return occurrences === 0 ? 0 : (2 * hits) / occurrences
  }
  if (average === 'binary') return ofClass(posLabel)
  const classes = new Set([...Array.from(predictions), ...Array.from(labels)])
  let sum = 0
  for (const label of classes) sum += ofClass(label)
  return sum / classes.size
}

/**
 * Matthews' correlation of predictions and labels, from -1 to 1, for any number of classes (Gorodkin's R_K); 0 where
 * either of the two is constant. Throws for no predictions, or for a different number of predictions and labels.
 */
export function matthewsCorrelation(predictions: Classes, labels: Classes): number {
  const total = sameLength('matthewsCorrelation', predictions, labels)
  const counts = new Map<number, { predicted: number; true: number }>()
  const at = (label: number) => {
    const found = counts.get(label) ?? { predicted: 0, true: 0 }
    counts.set(label, found)
    return found
  }
  let right = 0
  for (let i = 0; i < total; i++) {
    at(predictions[i]).predicted++
    at(labels[i]).true++
    if (predictions[i] === labels[i]) right++
  }
  let [both, predictedSquares, trueSquares] = [0, 0, 0]
  for (const { predicted, true: actual } of counts.values()) {
    both += predicted * actual
    predictedSquares += predicted * predicted
    trueSquares += actual * actual
  }
  const spread = Math.sqrt((total * total - predictedSquares) * (total * total - trueSquares))
  return spread === 0 ? 0 : (right * total - both) / spread
}

/** The perplexity of a mean loss for each token (natural logarithm): `e` to its power. */
export function perplexity(loss: number): number {
  return Math.exp(loss)
}

/**
 * The metrics of a classifier: `accuracy`, `f1_macro` and `matthews_correlation`, for two classes also `f1` of class 1.
 * Examples whose label is -100 do not count. Throws when no example counts.
 *
 * @param logits one row of scores for each example
 * @param labels the class of each example
 */
export function classificationMetrics(logits: readonly ArrayLike<number>[], labels: Classes): Record<string, number> {
  const counted = Array.from(labels, (label, i) => ({ label, row: logits[i] })).filter(({ label }) => label !== -100)
  const predictions = counted.map(({ row }) => argmax(row))
  const classes = counted.map(({ label }) => label)
  return {
    accuracy: accuracy(predictions, classes),
    ...(counted[0].row.length === 2 && { f1: f1Score(predictions, classes) }),
    f1_macro: f1Score(predictions, classes, { average: 'macro' }),
    matthews_correlation: matthewsCorrelation(predictions, classes),
  }
}

function sameLength(metric: string, predictions: Classes, labels: Classes): number {
  if (predictions.length !== labels.length) {
    throw new Error(`${metric}: got ${predictions.length} predictions and ${labels.length} labels; they must match`)
  }
  if (labels.length === 0) throw new Error(`${metric}: got no predictions; at least one is needed`)
  return labels.length
}
