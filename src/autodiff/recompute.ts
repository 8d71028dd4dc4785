/** @file Recomputation: values that are cheap to compute again are not kept from the forward pass to the backward pass. */
import { type Node, type Rewritten, reachableNodes, rewrite, type Tensor } from '../graph/index.ts'

/** Operators that cost one pass over their operands. */
const CHEAP = new Set([
  'Mul',
  'Add',
  'Sub',
  'Silu',
  'Gelu',
  'Relu',
  'Tanh',
  'Sigmoid',
  'LayerNorm',
  'RmsNorm',
  'Where',
  'Cast',
])
/** Values that exist for the whole run anyway. */
const LEAVES = new Set(['Input', 'Constant', 'Weight', 'DropoutMask'])

/**
 * Computes in the backward pass again what is cheap and made only of values that the backward pass keeps anyway: the
 * output of a normalisation or an activation, a dropped-out tensor. The result is the same to the bit.
 *
 * @param boundary the first node of the backward pass, by its position in the graph
 */
export function recomputeCheap(outputs: readonly Tensor[], boundary: number): Rewritten {
  const nodes = reachableNodes(outputs)
  const readBackward = new Set<Tensor>()
  for (const node of nodes) if (node.id >= boundary) for (const input of node.inputs) readBackward.add(input)
  const again = new Set<Tensor>()
  const stays = (tensor: Tensor) => LEAVES.has(tensor.node.op) || (readBackward.has(tensor) && !again.has(tensor))
  for (const node of nodes) {
    if (node.id >= boundary) break
    const [output] = node.outputs
    if (CHEAP.has(node.op) && readBackward.has(output) && node.inputs.every(stays)) again.add(output)
  }
  const copies = new Map<Tensor, Tensor>()
  return rewrite(outputs, (node, inputs, graph) => {
    if (node.id < boundary || LEAVES.has(node.op)) return undefined
    const replaced = node.inputs.map((input, i) => {
      if (!again.has(input)) return inputs[i]
      let copy = copies.get(input)
      if (!copy) {
        const original: Node = inputs[i].node
        // The mark keeps equal nodes from being merged again.
        copy = graph.add(original.op, original.inputs, { ...original.attributes, recomputed: true })[0]
        copies.set(input, copy)
      }
      return copy
    })
    return replaced.some((input, i) => input !== inputs[i]) ? graph.add(node.op, replaced, node.attributes) : undefined
  })
}
