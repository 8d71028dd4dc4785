/** @file LoRA for batches whose rows have adapters of their own: each row gathers its matrices, all in one product. */
import {
  add,
  concat,
  gather,
  matmul,
  mul,
  type Operand,
  reshape,
  sub,
  type Tensor,
  toTensor,
  transpose,
  unsqueeze,
  zeros,
} from '../../../graph/index.ts'
import { Parameter } from '../../../nn/index.ts'
import type { AdapterRows } from '../../tuner-layer.ts'
import { ones, RowStack } from '../stacks.ts'

/** What one adapter does in a layer. */
export interface RowUpdate {
  /** `[r, in]` */
  a: Operand
  /** `[out, r]` */
  b: Operand
  rank: number
  /** The factor on `b a`, a scalar. */
  scale: Parameter
  /** `[out]`, the bias of B. */
  bias?: Operand
  /** `[out]`, the factors on the rows of the weight (DoRA). */
  rescaling?: Tensor
}

/** The layer that rows are computed in. */
export interface RowLayer {
  rows: AdapterRows
  updates: ReadonlyMap<string, RowUpdate>
  inFeatures: number
  outFeatures: number
}

/** What the updates of one layer have in common. */
interface Stacks {
  graph: Tensor['graph']
  stack: RowStack
  /** The largest rank: matrices of smaller ones are filled up with zeros. */
  rank: number
  updateOf(name: string): RowUpdate
}

function stacksOf(graph: Tensor['graph'], { rows, updates }: RowLayer): Stacks {
  const rank = Math.max(...[...updates.values()].map(update => update.rank))
  return { graph, stack: new RowStack(rows, new Set(updates.keys())), rank, updateOf: name => updates.get(name)! }
}

/** A matrix of rank `from`, filled up with zeros along `axis`. */
function filledUp(value: Operand, axis: 0 | 1, { graph, rank }: Stacks): Tensor {
  const tensor = toTensor(graph, value)
  const missing = rank - (tensor.shape[axis] as number)
  if (missing === 0) return tensor
  const shape = axis === 0 ? [missing, tensor.shape[1]] : [tensor.shape[0], missing]
  return concat([tensor, zeros(graph, shape)], axis)
}

/** The matrix of each row's adapter, `[batch, ...shape]`, filled up with zeros along `axis`. */
function matrices(stacks: Stacks, factor: 'a' | 'b', axis: 0 | 1, shape: readonly number[]): Tensor {
  const { graph, stack, rank, updateOf } = stacks
  const isWhole = stack.names.every(name => updateOf(name).rank === rank && updateOf(name)[factor] instanceof Parameter)
  if (isWhole) return stack.pickParameter(graph, name => updateOf(name)[factor] as Parameter)
  return stack.pick(zeros(graph, shape), name => filledUp(updateOf(name)[factor], axis, stacks))
}

/** The scale of each row's adapter. */
function scales({ graph, stack, updateOf }: Stacks, x: Tensor): Tensor {
  const picked = stack.pickParameter(graph, name => updateOf(name).scale)
  return reshape(picked, [picked.shape[0], ...Array(Math.max(x.rank - 1, 1)).fill(1)])
}

/**
 * A dense layer's output with the update of each row's own adapter.
 *
 * @param base what the layer computes without adapters, `[batch, ..., out]`
 * @param x its input, `[batch, ..., in]`
 * @param baseBias its bias, which DoRA leaves alone
 */
export function linearRows(base: Tensor, x: Tensor, layer: RowLayer, baseBias: Operand | undefined): Tensor {
  const { graph } = x
  const stacks = stacksOf(graph, layer)
  const { stack, rank, updateOf } = stacks
  const { inFeatures, outFeatures } = layer
  const a = matrices(stacks, 'a', 0, [rank, inFeatures])
  const b = matrices(stacks, 'b', 1, [outFeatures, rank])
  const inner = mul(timesRows(x, a, rank), scales(stacks, x))
  let update = timesRows(inner, b, outFeatures)
  const updates = stack.names.map(updateOf)
  if (updates.some(({ bias }) => bias)) {
    const bias = stack.pickFor(x, zeros(graph, [outFeatures]), name => {
      const { bias: own, scale } = updateOf(name)
      return own ? mul(own, scale) : zeros(graph, [outFeatures])
    })
    update = add(update, bias)
  }
  if (!updates.some(({ rescaling }) => rescaling)) return add(base, update)
  const unchanged = ones(graph, [outFeatures])
  const factor = stack.pickFor(x, unchanged, name => updateOf(name).rescaling ?? unchanged)
  const product = baseBias ? sub(base, baseBias) : base
  return add(base, add(mul(product, sub(factor, 1)), mul(update, factor)))
}

/**
 * `x mᵀ`, row by row of the batch.
 *
 * @param x `[batch, ..., k]`
 * @param m `[batch, n, k]`
 * @returns `[batch, ..., n]`
 */
function timesRows(x: Tensor, m: Tensor, n: number): Tensor {
  if (x.rank === 2) return reshape(matmul(unsqueeze(x, [1]), m, { transB: true }), [x.shape[0], n])
  const between = Array.from({ length: x.rank - 3 }, (_, i) => i + 1)
  return matmul(x, between.length ? unsqueeze(m, between) : m, { transB: true })
}

/**
 * An embedding's output with the update of each row's own adapter. Tables are laid below each other, so that only the
 * rows of the tokens are read.
 *
 * @param base what the layer computes without adapters, `[batch, sequence, width]`
 * @param ids `[batch, sequence]`
 */
export function embeddingRows(base: Tensor, ids: Tensor, layer: RowLayer): Tensor {
  const { graph } = ids
  const stacks = stacksOf(graph, layer)
  const { stack, rank, updateOf } = stacks
  const { inFeatures, outFeatures } = layer
  const tables = stack.stack(zeros(graph, [inFeatures, rank]), name => transpose(filledUp(updateOf(name).a, 0, stacks)))
  const axes = Array.from({ length: ids.rank - 1 }, (_, i) => i + 1)
  const first = mul(axes.length ? unsqueeze(stack.index, axes) : stack.index, graph.constant(inFeatures, 'int64'))
  const table = reshape(tables, [inFeatures * (stack.names.length + 1), rank])
  const looked = gather(table, add(first, ids))
  const inner = mul(looked, scales(stacks, looked))
  const b = matrices(stacks, 'b', 1, [outFeatures, rank])
  const result = add(base, timesRows(inner, b, outFeatures))
  if (!stack.names.some(name => updateOf(name).rescaling)) return result
  const unchanged = ones(graph, [outFeatures])
  return mul(
    result,
    stack.pickFor(result, unchanged, name => updateOf(name).rescaling ?? unchanged),
  )
}
