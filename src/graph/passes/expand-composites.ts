/** @file Replaces composite operators by primitive ones that an engine knows. */
import { multiplyDims } from '../dim.ts'
import type { Tensor } from '../graph.ts'
import { cast, equal, log, logicalNot, mul, neg, sub, where } from '../operators/elementwise.ts'
import { gatherElements, scatterAddElements, zeros } from '../operators/indexing.ts'
import { softmax } from '../operators/normalization.ts'
import { max } from '../operators/reduce.ts'
import { squeeze, unsqueeze } from '../operators/shape.ts'
import { type RewriteRule, type Rewritten, rewrite } from './rewrite.ts'

/** Labels with those to ignore replaced by class 0, and which rows count, as float 0 or 1. */
export function maskLabels(labels: Tensor, ignoreIndex: number): { safe: Tensor; valid: Tensor } {
  const ignored = equal(labels, ignoreIndex)
  return {
    safe: where(ignored, labels.graph.constant(0, 'int64'), labels),
    valid: cast(logicalNot(ignored), 'float32'),
  }
}

const expansions: Readonly<Record<string, RewriteRule>> = {
  StopGradient: (_, [x]) => [x],

  // -log softmax(z)[label] = max z - z[label] - log max softmax(z): no underflow, because the largest of n
  // probabilities is at least 1/n, and the probabilities are there for the gradient.
  CrossEntropy: ({ attributes }, [logits, labels]) => {
    const { safe, valid } = maskLabels(labels, attributes.ignoreIndex as number)
    const picked = squeeze(gatherElements(logits, unsqueeze(safe, [1]), 1), [1])
    const normalizer = log(max(softmax(logits, 1), [1]))
    return [mul(sub(sub(max(logits, [1]), picked), normalizer), valid)]
  },

  CrossEntropyGrad: ({ attributes }, [logits, labels, upstream]) => {
    const { safe, valid } = maskLabels(labels, attributes.ignoreIndex as number)
    const rows = unsqueeze(mul(upstream, valid), [1])
    return [scatterAddElements(mul(softmax(logits, 1), rows), unsqueeze(safe, [1]), neg(rows), 1)]
  },

  ScatterRows: ({ attributes }, [indices, updates], graph) => {
    const shape = [attributes.rows as number, ...updates.shape.slice(indices.rank)]
    const empty = zeros(graph, shape, updates.dtype)
    if (multiplyDims(...shape) === 0) return [empty]
    const positions = unsqueeze(cast(indices, 'int64'), [indices.rank])
    return graph.add('ScatterND', [empty, positions, updates], { reduction: 'add' })
  },
}

/** Expands composites, then merges what became equal. */
export function expandComposites(outputs: readonly Tensor[]): Rewritten {
  const expanded = rewrite(outputs, (node, inputs, graph) => expansions[node.op]?.(node, inputs, graph))
  const merged = rewrite(expanded.outputs)
  return {
    ...merged,
    map: tensor => {
      const between = expanded.map(tensor)
      return between && merged.map(between)
    },
  }
}
