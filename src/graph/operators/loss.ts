/** @file Cross-entropy over the last axis, as one operator so that its gradient can be fused. */
import { defineOperator, type Operand, type Tensor } from '../graph.ts'
import { cast, div, equal, logicalNot, maximum, mul, sub } from './elementwise.ts'
import { mean, sum } from './reduce.ts'
import { reshape } from './shape.ts'

const requireLabels = (logits: Tensor, labels: Tensor) => {
  if (logits.rank !== 2 || labels.rank !== 1 || labels.dtype !== 'int64' || logits.shape[0] !== labels.shape[0]) {
    throw new Error('expected logits [rows, classes] and int64 labels [rows]')
  }
}

defineOperator('CrossEntropy', ([logits, labels]) => {
  requireLabels(logits, labels)
  return [{ dtype: logits.dtype, shape: labels.shape }]
})

// d(loss)/d(logits) for upstream gradients [rows]; the rule of a Linear below recognises it and avoids the full matrix.
defineOperator('CrossEntropyGrad', ([logits, labels]) => {
  requireLabels(logits, labels)
  return [logits]
})

/** Which of the rows count, as 0 or 1: those whose label is not `ignoreIndex`. */
function validRows(labels: Tensor, ignoreIndex: number): Tensor {
  return cast(logicalNot(equal(labels, ignoreIndex)), 'float32')
}

/**
 * The mean negative log-likelihood of `labels`; rows whose label is `ignoreIndex` do not count.
 *
 * @param logits `[..., classes]`
 * @param labels int64 `[...]`
 * @param options.ignoreIndex the label of rows to leave out, -100 as in PyTorch
 * @param options.reduction `mean` over the rows that count (0 when there are none, where PyTorch gives NaN), `sum`,
 *   or `none`: one loss a row
 */
export function crossEntropy(
  logits: Tensor,
  labels: Tensor,
  options: { ignoreIndex?: number; reduction?: 'mean' | 'sum' | 'none' } = {},
): Tensor {
  const { ignoreIndex = -100, reduction = 'mean' } = options
  const rows = reshape(labels, [-1])
  const losses = logits.graph.add('CrossEntropy', [reshape(logits, [-1, logits.shape.at(-1)!]), rows], {
    ignoreIndex,
  })[0]
  if (reduction === 'none') return reshape(losses, labels.shape)
  if (reduction === 'sum') return sum(losses)
  return div(sum(losses), maximum(sum(validRows(rows, ignoreIndex)), 1))
}

/** The mean squared error between a prediction and its target. */
export function mseLoss(prediction: Operand, target: Operand): Tensor {
  const difference = sub(prediction, target)
  return mean(mul(difference, difference))
}
