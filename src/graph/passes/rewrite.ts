/** @file Rebuilds a graph from its outputs: dead nodes fall away, equal nodes merge, and a rule may replace any node. */
import { Graph, type Node, type Tensor } from '../graph.ts'

/**
 * Gives new outputs for a node, built in the new graph from its (already rewritten) inputs; undefined keeps the node.
 * `map` gives what stands for tensors of earlier nodes.
 */
export type RewriteRule = (
  node: Node,
  inputs: readonly Tensor[],
  graph: Graph,
  map: (tensor: Tensor) => Tensor,
) => readonly Tensor[] | undefined

/** The result of {@link rewrite}. */
export interface Rewritten {
  graph: Graph
  outputs: Tensor[]
  /** The tensor of the new graph that stands for one of the old graph; undefined when it was dead. */
  map(tensor: Tensor): Tensor | undefined
}

/** The nodes that `outputs` depend on, in the order of their creation. */
export function reachableNodes(outputs: Iterable<Tensor>): Node[] {
  const seen = new Set<Node>()
  const stack = [...outputs].map(tensor => tensor.node)
  while (stack.length) {
    const node = stack.pop()!
    if (seen.has(node)) continue
    seen.add(node)
    for (const input of node.inputs) stack.push(input.node)
  }
  return [...seen].sort((a, b) => a.id - b.id)
}

const objectIds = new WeakMap<object, number>()
let nextObjectId = 0

/** What two nodes must share to be one: operator, inputs and attributes. */
function signature(node: Node, inputs: readonly Tensor[]): string {
  const attributes = JSON.stringify(node.attributes, (key, value) => {
    // JSON would write the infinities and NaN alike, and -0 as 0.
    if (typeof value === 'number') return Object.is(value, -0) ? '-0' : Number.isFinite(value) ? value : String(value)
    if (key !== 'weight') return value
    let id = objectIds.get(value)
    if (id === undefined) objectIds.set(value, (id = nextObjectId++))
    return id
  })
  return `${node.op}(${inputs.map(input => `${input.node.id}.${input.index}`)})${attributes}`
}

/** Copies what `outputs` depend on into a new graph, merging nodes that compute the same. */
export function rewrite(outputs: readonly Tensor[], rule?: RewriteRule, keep: readonly Tensor[] = []): Rewritten {
  const graph = new Graph()
  if (outputs.length) graph.training = outputs[0].graph.training
  const mapped = new Map<Tensor, Tensor>()
  const known = new Map<string, readonly Tensor[]>()
  for (const node of reachableNodes([...outputs, ...keep])) {
    const inputs = node.inputs.map(input => mapped.get(input)!)
    let results = rule?.(node, inputs, graph, tensor => mapped.get(tensor)!)
    if (!results) {
      const key = signature(node, inputs)
      results = known.get(key)
      if (!results) {
        if (node.op === 'Input') {
          const { name, dtype, shape } = node.attributes
          results = [graph.input(name as string, dtype as never, shape as never)]
        } else {
          results = graph.add(node.op, inputs, node.attributes)
        }
        known.set(key, results)
      }
    }
    node.outputs.forEach((output, i) => {
      if (results[i]) mapped.set(output, results[i])
    })
  }
  return { graph, outputs: outputs.map(output => mapped.get(output)!), map: tensor => mapped.get(tensor) }
}
