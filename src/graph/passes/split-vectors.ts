/** @file Cuts a vector that is read in parts, such as that of an adapter's parameters, in one go. */
import { defineOperator, type Node, type Tensor } from '../graph.ts'
import { type Rewritten, reachableNodes, rewrite } from './rewrite.ts'

/** From how many parts on. */
const FEWEST = 4
/** Up to which length: the parts of a long vector should not all be in memory at once. */
const LONGEST = 2 ** 22

defineOperator('Split', ([x], { sizes }) =>
  (sizes as readonly number[]).map(size => ({ dtype: x.dtype, shape: [size] })),
)

interface Part {
  start: number
  end: number
}

/** Replaces the slices of inputs of one axis by one node, where they follow each other from the beginning on. */
export function splitVectors(outputs: readonly Tensor[]): Rewritten {
  const slices = new Map<Tensor, Node[]>()
  for (const node of reachableNodes(outputs)) {
    const [x] = node.inputs
    if (node.op !== 'Slice' || x.node.op !== 'Input' || x.rank !== 1) continue
    slices.set(x, [...(slices.get(x) ?? []), node])
  }
  const parts = new Map<Tensor, readonly number[]>()
  for (const [x, nodes] of slices) {
    const starts = startsOf(nodes)
    if (starts) parts.set(x, starts)
  }
  const splits = new Map<Tensor, readonly Tensor[]>()
  return rewrite(outputs, (node, [x], graph) => {
    const starts = node.op === 'Slice' ? parts.get(node.inputs[0]) : undefined
    if (!starts) return undefined
    let split = splits.get(node.inputs[0])
    if (!split) {
      const sizes = starts.slice(1).map((end, i) => end - starts[i])
      const end = starts.at(-1)!
      // What is behind the last part may be there for another computation.
      const read = x.shape[0] === end ? x : graph.add('Slice', [x], { axis: 0, start: 0, end })[0]
      splits.set(node.inputs[0], (split = graph.add('Split', [read], { sizes })))
    }
    return [split[starts.indexOf((node.attributes as unknown as Part).start)]]
  })
}

/** Where the parts begin, and where the last one ends; undefined where they leave gaps or overlap. */
function startsOf(nodes: readonly Node[]): number[] | undefined {
  const parts = nodes.map(({ attributes }) => attributes as unknown as Part)
  if (parts.some(({ start, end }) => typeof start !== 'number' || typeof end !== 'number')) return undefined
  const sorted = [...new Map(parts.map(part => [`${part.start}:${part.end}`, part])).values()].sort(
    (a, b) => a.start - b.start || a.end - b.end,
  )
  const starts = [0]
  for (const { start, end } of sorted) {
    if (start !== starts.at(-1) || end === start) return undefined
    starts.push(end)
  }
  return sorted.length >= FEWEST && starts.at(-1)! <= LONGEST ? starts : undefined
}
