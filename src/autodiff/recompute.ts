/** @file Recomputation: what can be computed again is not kept from the forward pass to the backward pass. */
import { BYTES_PER_ELEMENT, evaluateDim, type Node, reachableNodes, rewrite, type Tensor } from '../graph/index.ts'

/** Operators that cost one pass over their operands. */
const CHEAP = new Set([
  ...['Mul', 'Add', 'Sub', 'Silu', 'Gelu', 'Relu', 'Tanh', 'Sigmoid', 'LayerNorm', 'RmsNorm', 'Where', 'Cast'],
  ...['Softmax', 'Reshape', 'Transpose', 'Slice', 'Rotary'],
  // What masks are made of.
  ...['And', 'Or', 'Not', 'Equal', 'Less', 'LessOrEqual', 'Greater', 'GreaterOrEqual', 'Min', 'Max'],
  ...['Range', 'DimValue', 'Expand', 'CumSum'],
])
/** Values that exist for the whole run anyway. */
const LEAVES = new Set(['Input', 'Constant', 'Weight', 'Dequantize', 'DropoutMask'])
/** Products of activations over a shorter axis than this cost little beside those with weights. */
const SHORT = 256

/** A graph in which the backward pass computes again what it does not find. */
export interface Recomputed {
  outputs: readonly Tensor[]
  /** The first node of the backward pass, by its position in the graph. */
  boundary: number
}

/**
 * Computes in the backward pass again what is cheap and made only of values that the backward pass keeps anyway: the
 * output of a normalisation or an activation, a dropped-out tensor, attention weights. The result is the same to the
 * bit.
 *
 * @param boundary the first node of the backward pass, by its position in the graph
 */
export function recomputeCheap(outputs: readonly Tensor[], boundary: number): Recomputed {
  const nodes = reachableNodes(outputs)
  const read = readBackward(nodes, boundary)
  const remade = new Map<Tensor, boolean>()
  const again = new Set<Tensor>()
  /** Whether a tensor is at hand in the backward pass, or can be made of what is. */
  const isAtHand = (tensor: Tensor) => LEAVES.has(tensor.node.op) || read.has(tensor) || remade.get(tensor) === true
  for (const node of nodes) {
    if (node.id >= boundary) break
    const canRemake = isCheap(node) && node.inputs.every(isAtHand)
    for (const output of node.outputs) remade.set(output, canRemake)
  }
  const remake = (tensor: Tensor) => {
    if (again.has(tensor) || LEAVES.has(tensor.node.op) || !remade.get(tensor)) return
    again.add(tensor)
    tensor.node.inputs.forEach(remake)
  }
  read.forEach(remake)
  return withCopies(outputs, boundary, again)
}

function isCheap({ op, inputs, attributes }: Node): boolean {
  if (op !== 'MatMul') return CHEAP.has(op)
  const inner = inputs[0].shape.at(attributes.transA ? -2 : -1)
  return (
    inputs.every(({ node, rank }) => rank > 2 && !LEAVES.has(node.op)) && typeof inner === 'number' && inner < SHORT
  )
}

/** What the backward pass reads of the forward pass. */
function readBackward(nodes: readonly Node[], boundary: number): Set<Tensor> {
  const read = new Set<Tensor>()
  for (const node of nodes) {
    if (node.id < boundary) continue
    for (const input of node.inputs) if (input.node.id < boundary && !LEAVES.has(input.node.op)) read.add(input)
  }
  return read
}

/**
 * Gives the backward pass copies of the tensors of `again` where it reads them. They are made at their first reader,
 * after the gradient that it works on, and so they run as late as can be.
 */
function withCopies(outputs: readonly Tensor[], boundary: number, again: ReadonlySet<Tensor>): Recomputed {
  const copies = new Map<Node, readonly Tensor[]>()
  let first: number | undefined
  const rewritten = rewrite(outputs, (node, inputs, graph, map) => {
    if (node.id < boundary || LEAVES.has(node.op)) return undefined
    first ??= graph.nodes.length
    const copyOf = (tensor: Tensor): Tensor => {
      if (!again.has(tensor)) return map(tensor)
      let copy = copies.get(tensor.node)
      if (!copy) {
        const { op, inputs: sources, attributes } = tensor.node
        // The mark keeps equal nodes from being merged again.
        copy = graph.add(op, sources.map(copyOf), { ...attributes, recomputed: true })
        copies.set(tensor.node, copy)
      }
      return copy[tensor.index]
    }
    const replaced = node.inputs.map((input, i) => (again.has(input) ? copyOf(input) : inputs[i]))
    return replaced.some((input, i) => input !== inputs[i]) ? graph.add(node.op, replaced, node.attributes) : undefined
  })
  return { outputs: rewritten.outputs, boundary: first ?? rewritten.graph.nodes.length }
}

/**
 * Keeps of the forward pass only what crosses some cuts, and computes what lies between two of them again when the
 * backward pass comes there. The cuts are found where few values are alive, which in a stack of layers is between them,
 * and are chosen so that what is kept and the largest part between take least memory together. What follows the last cut
 * is not computed twice. The result is the same to the bit.
 *
 * @param boundary the first node of the backward pass, by its position in the graph
 */
export function recomputeSegments(outputs: readonly Tensor[], boundary: number): Recomputed {
  const nodes = reachableNodes(outputs)
  const forward = nodes.filter(node => node.id < boundary && !LEAVES.has(node.op))
  const read = readBackward(nodes, boundary)
  const lines = cutLines(forward)
  const cuts = chooseCuts(lines, forward, read)
  if (cuts.length === 0) return { outputs, boundary }
  const kept = new Set(cuts.flatMap(cut => [...cut.alive]))
  const again = new Set<Tensor>()
  for (const node of forward.slice(0, cuts.at(-1)!.position + 1))
    for (const output of node.outputs) if (!kept.has(output)) again.add(output)
  return withCopies(outputs, boundary, again)
}

/** A place between two nodes of the forward pass. */
interface Cut {
  /** The index of the node before it. */
  position: number
  /** What nodes behind it read of nodes before it. */
  alive: ReadonlySet<Tensor>
}

/** Lengths stand for names here: only how sizes compare matters. */
const NOMINAL = new Proxy<Record<string, number>>({}, { get: (_, name) => (name === 'batch' ? 4 : 128) })
const bytesOf = ({ shape, dtype }: Tensor) =>
  BYTES_PER_ELEMENT[dtype] * shape.reduce<number>((size, dim) => size * evaluateDim(dim, NOMINAL), 1)
const total = (tensors: Iterable<Tensor>) => [...tensors].reduce((sum, tensor) => sum + bytesOf(tensor), 0)

/** The places where less is alive than around them, before the loss begins. */
function cutLines(forward: readonly Node[]): Cut[] {
  const lastRead = new Map<Tensor, number>()
  for (const [i, node] of forward.entries()) for (const input of node.inputs) lastRead.set(input, i)
  const end = forward.findIndex(({ op }) => op === 'CrossEntropy' || op === 'RowPart')
  const alive = new Set<Tensor>()
  const sizes: number[] = []
  const sets: ReadonlySet<Tensor>[] = []
  let size = 0
  for (const [i, node] of forward.slice(0, end < 0 ? undefined : end).entries()) {
    for (const output of node.outputs) {
      if ((lastRead.get(output) ?? -1) <= i) continue
      alive.add(output)
      size += bytesOf(output)
    }
    for (const input of new Set(node.inputs)) {
      if (lastRead.get(input) === i && alive.delete(input)) size -= bytesOf(input)
    }
    sizes.push(size)
    sets.push(new Set(alive))
  }
  const minima = sizes.flatMap((now, i) => {
    if (i === 0 || sizes[i - 1] <= now) return []
    const next = sizes.slice(i).find(other => other !== now)
    return next !== undefined && next > now ? [i] : []
  })
  const median = minima.map(i => sizes[i]).sort((a, b) => a - b)[minima.length >> 1]
  const isUsual = (i: number) => sizes[i] > median / 2.5 && sizes[i] < median * 2.5
  return minima.filter(isUsual).map(position => ({ position, alive: sets[position] }))
}

/** The cuts that are worth most: what is kept at them plus the largest part between two of them is least. */
function chooseCuts(lines: readonly Cut[], forward: readonly Node[], read: ReadonlySet<Tensor>): Cut[] {
  const before = [0]
  for (const node of forward) before.push(before.at(-1)! + total(node.outputs.filter(output => read.has(output))))
  const between = (from: number, to: number) => before[to] - before[from]
  const end = forward.length
  const whole = between(0, end)
  let best: { cuts: Cut[]; bytes: number } = { cuts: [], bytes: whole }
  for (let limit = whole; limit > whole / 500; limit *= 0.9) {
    const cuts: Cut[] = []
    let [to, largest] = [end, 0]
    for (;;) {
      if (between(0, to) <= limit) break
      const reachable = lines.filter(({ position }) => position + 1 < to)
      const cut = reachable.find(({ position }) => between(position + 1, to) <= limit) ?? reachable.at(-1)
      if (!cut) break
      largest = Math.max(largest, between(cut.position + 1, to))
      cuts.unshift(cut)
      to = cut.position + 1
    }
    const bytes = total(new Set(cuts.flatMap(cut => [...cut.alive]))) + Math.max(largest, between(0, to))
    if (bytes < best.bytes) best = { cuts, bytes }
  }
  return best.cuts
}
