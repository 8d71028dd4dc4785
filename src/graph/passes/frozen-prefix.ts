/**
 * @file Finds what comes out the same whenever an example is seen again: the part of a graph that reads nothing but the
 * example and constants, and where it is best cut off from what varies.
 */
import { type Dim, evaluateDim } from '../dim.ts'
import type { Node, Tensor } from '../graph.ts'
import { reachableNodes } from './rewrite.ts'

/** How {@link findFrozenPrefix} looks at a graph. */
export interface FrozenPrefixOptions {
  /** Whether an input belongs to an example; all others vary from run to run. */
  isExample(name: string): boolean
  /** Whether a tensor can be kept for each example. */
  canKeep(tensor: Tensor): boolean
  /** Typical lengths of the axes: how much is saved depends on them. */
  lengths: Readonly<Record<string, number>>
  /** Takes dropout for something that does not vary, to learn what it costs. */
  ignoreDropout?: boolean
}

/** Where a graph is cut. */
export interface FrozenPrefix {
  /** What crosses the cut, in the order of creation: given these, nothing before them needs to be computed. */
  kept: Tensor[]
  /** Floating-point operations of the products before the cut. */
  saved: number
  /** Those of all products, of the backward pass too. */
  total: number
}

/** A cut that saves this share of what could be saved at most is taken for one that keeps less. */
const ENOUGH = 0.75

/**
 * The cut between what only depends on the example and what varies (by what trains, or at random) that keeps little and
 * saves much. Values that no product went into (masks, positions, looked-up embeddings) are never kept: they are computed
 * again.
 *
 * @returns undefined where there is no product to save
 */
export function findFrozenPrefix(output: Tensor, options: FrozenPrefixOptions): FrozenPrefix | undefined {
  const nodes = reachableNodes([output])
  const { frozen, products } = classify(nodes, options)
  let total = 0
  for (const node of nodes) {
    const varying = node.inputs.filter(input => !frozen.has(input.node)).length
    // The backward pass has a product for each operand that has a gradient.
    total += flopsOf(node, options.lengths) * (1 + varying)
  }
  const cuts = cutsOf(nodes, frozen, products, options)
  const most = Math.max(0, ...cuts.map(({ saved }) => saved))
  let best: Cut | undefined
  for (const cut of cuts) {
    if (cut.saved < ENOUGH * most) continue
    if (!best || cut.size < best.size || (cut.size === best.size && cut.saved >= best.saved)) best = cut
  }
  return best && best.saved > 0 ? { kept: best.kept, saved: best.saved, total } : undefined
}

/** The nodes that do not vary, and those among them that a product of the example went into. */
function classify(nodes: readonly Node[], { isExample, lengths, ignoreDropout }: FrozenPrefixOptions) {
  const frozen = new Set<Node>()
  const ofExample = new Set<Node>()
  const products = new Set<Node>()
  for (const node of nodes) {
    const { op, inputs, attributes } = node
    const own = op === 'Input' ? isExample(attributes.name as string) : op !== 'DropoutMask' || ignoreDropout
    if (!own || !inputs.every(input => frozen.has(input.node))) continue
    frozen.add(node)
    if (op !== 'Input' && !inputs.some(input => ofExample.has(input.node))) continue
    ofExample.add(node)
    if (flopsOf(node, lengths) > 0 || inputs.some(input => products.has(input.node))) products.add(node)
  }
  return { frozen, products }
}

interface Cut {
  kept: Tensor[]
  size: number
  saved: number
}

/** All places in the order of creation where the part that does not vary can be cut. */
function cutsOf(
  nodes: readonly Node[],
  frozen: ReadonlySet<Node>,
  products: ReadonlySet<Node>,
  { canKeep, lengths }: FrozenPrefixOptions,
): Cut[] {
  const lastRead = new Map<Tensor, number>()
  for (const node of nodes) {
    const at = frozen.has(node) ? node.id : Number.POSITIVE_INFINITY
    for (const input of node.inputs) lastRead.set(input, Math.max(lastRead.get(input) ?? 0, at))
  }
  const cuts: Cut[] = []
  let alive: Tensor[] = []
  let saved = 0
  for (const node of nodes) {
    if (!products.has(node)) continue
    saved += flopsOf(node, lengths)
    alive = [...alive, ...node.outputs].filter(tensor => (lastRead.get(tensor) ?? 0) > node.id)
    if (alive.length === 0 || !alive.every(canKeep)) continue
    const size = alive.reduce((sum, { shape }) => sum + elements(shape, lengths), 0)
    cuts.push({ kept: alive, size, saved })
  }
  return cuts
}

/** Floating-point operations of a product; 0 for everything else, which costs little beside them. */
function flopsOf({ op, inputs, attributes, outputs }: Node, lengths: FrozenPrefixOptions['lengths']): number {
  let inner = 0
  if (op === 'Linear') inner = elements(inputs[0].shape.slice(-1), lengths)
  else if (op === 'MatMul') inner = elements([inputs[0].shape.at(attributes.transA ? -2 : -1)!], lengths)
  else if (op === 'Conv' || op === 'ConvTranspose') inner = elements(inputs[1].shape.slice(1), lengths)
  // An outer product, as of positions and frequencies, multiplies each element once.
  return inner > 1 ? 2 * inner * elements(outputs[0].shape, lengths) : 0
}

/** The number of elements; lengths that only a run knows (the tokens of an expert) count as one each. */
function elements(shape: readonly Dim[], lengths: FrozenPrefixOptions['lengths']): number {
  const known = new Proxy(lengths, { get: (target, name: string) => target[name] ?? 1 })
  return shape.reduce<number>((size, dim) => size * evaluateDim(dim, known), 1)
}

/**
 * Computes `output` again, in the same graph, with other tensors in the place of some. What reads none of them is not
 * computed twice.
 */
export function replaceTensors(output: Tensor, replacements: ReadonlyMap<Tensor, Tensor>): Tensor {
  const mapped = new Map(replacements)
  for (const node of reachableNodes([output])) {
    if (node.outputs.some(own => mapped.has(own))) continue
    const inputs = node.inputs.map(input => mapped.get(input) ?? input)
    if (inputs.every((input, i) => input === node.inputs[i])) continue
    const outputs = node.graph.add(node.op, inputs, node.attributes)
    node.outputs.forEach((own, i) => {
      mapped.set(own, outputs[i])
    })
  }
  return mapped.get(output) ?? output
}
