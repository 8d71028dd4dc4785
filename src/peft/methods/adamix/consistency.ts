/** @file The consistency of two random routings: how far their predictions lie apart. */
import {
  add,
  cast,
  div,
  equal,
  exp,
  logicalNot,
  logSoftmax,
  maximum,
  mean,
  mul,
  slice,
  stopGradient,
  sub,
  subtractDims,
  sum,
  type Tensor,
} from '../../../graph/index.ts'
import type { ModelInputs } from '../../../models/index.ts'
import type { AdapterContext, Entered } from '../../method.ts'
import type { AdaMixConfig } from './config.ts'

/** `KL(p ‖ q)` over the last axis, through q no gradient flows. */
function divergence(logP: Tensor, logQ: Tensor): Tensor {
  return sum(mul(exp(logP), sub(logP, stopGradient(logQ))), [-1])
}

/**
 * `½ (KL(p₁ ‖ sg p₂) + KL(p₂ ‖ sg p₁))`, the mean over the predictions that have a label; 0 where the routings agree.
 *
 * @param first `[batch, classes]`, or `[batch, sequence, classes]`
 * @param labels int64 `[batch]` or `[batch, sequence]`, -100 does not count
 * @param isShifted whether the label of a position is the next token
 */
export function routingDivergence(
  first: Tensor,
  second: Tensor,
  labels: Tensor | undefined,
  isShifted: boolean,
): Tensor {
  const cut = (logits: Tensor) => (isShifted ? slice(logits, 1, 0, subtractDims(logits.shape[1], 1)) : logits)
  const [p, q] = [first, second].map(logits => logSoftmax(cut(logits), -1))
  const symmetric = mul(add(divergence(p, q), divergence(q, p)), 0.5)
  if (!labels || first.rank === 2) return mean(symmetric)
  const counts = cast(logicalNot(equal(isShifted ? slice(labels, 1, 1) : labels, -100)), 'float32')
  return div(sum(mul(symmetric, counts)), maximum(sum(counts), 1))
}

/**
 * While training, runs the model a second time, whose layers then draw other experts, and adds to the loss how far both
 * predictions lie apart. Models without `logits`, and those with a single one (regression), have no such term.
 */
export function withConsistency(
  inputs: ModelInputs,
  { config, model }: AdapterContext<AdaMixConfig>,
): Entered['leave'] | undefined {
  const { numExperts, sharingDown, sharingUp, consistency, consistencyWeight } = config
  const isRandom = numExperts > 1 && !(sharingDown && sharingUp)
  if (!(consistency && consistencyWeight > 0 && isRandom)) return undefined
  return output => {
    const { logits, loss } = output
    if (!logits || !loss || logits.shape.at(-1) === 1) return output
    const { graph } = logits
    const { labels, ...others } = inputs
    // The second pass is there for its predictions: penalties of layers count once.
    const penalties = graph.takeLosses()
    const second = model.tree.forward(others) as { logits: Tensor }
    graph.takeLosses()
    for (const penalty of penalties) graph.addLoss(penalty)
    const distance = routingDivergence(logits, second.logits, labels, model.task === 'CAUSAL_LM')
    graph.addLoss(mul(distance, consistencyWeight))
    return output
  }
}
