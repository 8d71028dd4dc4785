/** @file Replaces composite operators by primitive ones that an engine knows. */
import { multiplyDims } from '../dim.ts'
import type { Tensor } from '../graph.ts'
import { cast, div, equal, exp, log, logicalNot, mul, neg, sub, where } from '../operators/elementwise.ts'
import { gatherElements, scatterAddElements, zeros } from '../operators/indexing.ts'
import { max, sum } from '../operators/reduce.ts'
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

/**
 * The parts of a softmax over the last axis: `exp(z - max z)` and its sum, at least 1, so that no logarithm overflows.
 * They are not divided: a matrix of logits is passed over as rarely, and overwritten as often, as can be. What reads
 * `shifted` is to be made before `powers`, which then take its memory.
 */
export function exponentials(logits: Tensor): { shifted: Tensor; powers: () => Tensor; total: () => Tensor } {
  const shifted = sub(logits, max(logits, [1], true))
  const powers = () => exp(shifted)
  return { shifted, powers, total: () => sum(powers(), [1], true) }
}

const expansions: Readonly<Record<string, RewriteRule>> = {
  StopGradient: (_, [x]) => [x],

  WithGradient: (_, [value]) => [value],

  CrossEntropy: ({ attributes }, [logits, labels]) => {
    const { safe, valid } = maskLabels(labels, attributes.ignoreIndex as number)
    const { shifted, total } = exponentials(logits)
    const picked = gatherElements(shifted, unsqueeze(safe, [1]), 1)
    return [mul(squeeze(sub(log(total()), picked), [1]), valid)]
  },

  CrossEntropyGrad: ({ attributes }, [logits, labels, upstream]) => {
    const { safe, valid } = maskLabels(labels, attributes.ignoreIndex as number)
    const rows = unsqueeze(mul(upstream, valid), [1])
    const { powers, total } = exponentials(logits)
    return [scatterAddElements(mul(powers(), div(rows, total())), unsqueeze(safe, [1]), neg(rows), 1)]
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
  const expanded = rewrite(outputs, (node, ...rest) => expansions[node.op]?.(node, ...rest))
  const merged = rewrite(expanded.outputs)
  return {
    ...merged,
    map: tensor => {
      const between = expanded.map(tensor)
      return between && merged.map(between)
    },
  }
}
