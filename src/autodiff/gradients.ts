/** @file Reverse-mode differentiation: extends a graph with the gradients of a scalar. */
import { add, isFloat, type Node, reachableNodes, type Tensor, zeros } from '../graph/index.ts'
import { gradientRule, type RuleContext } from './rule.ts'
import './rules/convolution.ts'
import './rules/elementwise.ts'
import './rules/matmul.ts'
import './rules/ranking.ts'
import './rules/reduce.ts'
import './rules/shape.ts'

/** Operators whose output does not depend smoothly on any input: no gradient flows through them. */
const CONSTANT = new Set(['Sign', 'Floor', 'StopGradient'])

/**
 * The gradients of `loss` with respect to each tensor of `wrt`, as new tensors of the same graph. Only what is needed
 * for them is built. Where the loss does not depend on a tensor its gradient is zero.
 *
 * @param loss a scalar
 * @param onGradient called with each finished gradient as soon as its graph stands, so that what is made of it is
 *   created, and later executed, before the backward pass goes on
 * @throws when `loss` is not a scalar, a tensor of `wrt` is not of its graph or holds integers, or an operator on the
 *   way has no gradient rule
 */
export function gradients(
  loss: Tensor,
  wrt: readonly Tensor[],
  onGradient: (gradient: Tensor, index: number) => void = () => {},
): Tensor[] {
  if (loss.rank !== 0) throw new Error(`gradients: the loss must be a scalar, got ${loss}; reduce it by sum or mean`)
  const { graph } = loss
  for (const tensor of wrt) {
    if (tensor.graph !== graph) throw new Error(`gradients: ${tensor} belongs to another graph than the loss`)
    if (!isFloat(tensor.dtype))
      throw new Error(`gradients: ${tensor} holds no floating-point numbers, so it has no gradient`)
  }
  const nodes = reachableNodes([loss])
  const wanted = new Set(wrt)
  const needed = new Set<Tensor>(wrt)
  for (const node of nodes) {
    const depends = !CONSTANT.has(node.op) && node.inputs.some(input => needed.has(input))
    if (depends) for (const output of node.outputs) needed.add(output)
  }
  const found = new Map<Tensor, Tensor>()
  const finish = (tensor: Tensor) => {
    if (!wanted.has(tensor)) return
    const gradient = found.get(tensor) ?? zeros(graph, tensor.shape, tensor.dtype)
    found.set(tensor, gradient)
    for (const [index, other] of wrt.entries()) if (other === tensor) onGradient(gradient, index)
  }
  found.set(loss, graph.constant(1, loss.dtype))
  for (const node of nodes.reverse()) {
    for (const output of node.outputs) finish(output)
    if (!node.inputs.some(input => needed.has(input)) || CONSTANT.has(node.op)) continue
    const grads = node.outputs.map(output => found.get(output))
    if (grads.every(grad => grad === undefined)) continue
    differentiate(node, grads, needed, found)
  }
  for (const tensor of wrt) if (!found.has(tensor)) finish(tensor)
  return wrt.map(tensor => found.get(tensor)!)
}

function differentiate(
  node: Node,
  grads: (Tensor | undefined)[],
  needed: ReadonlySet<Tensor>,
  found: Map<Tensor, Tensor>,
): void {
  const rule = gradientRule(node.op)
  if (!rule) {
    throw new Error(
      `The operator ${node.op}(${node.inputs.join(', ')}) has no gradient rule; define one with defineGradient, or cut the path with stopGradient`,
    )
  }
  if (grads[0] === undefined || grads.slice(1).some(Boolean)) {
    throw new Error(`${node.op}: gradients flow only through its first output`)
  }
  const context: RuleContext = {
    node,
    inputs: node.inputs,
    outputs: node.outputs,
    grads,
    grad: grads[0],
    needs: i => needed.has(node.inputs[i]),
    give: (i, grad) => {
      const input = node.inputs[i]
      if (!needed.has(input)) return
      if (grad.shape.join() !== input.shape.join()) {
        throw new Error(`The gradient rule of ${node.op} gave ${grad} for input ${i}, which is ${input}`)
      }
      const before = found.get(input)
      found.set(input, before ? add(before, grad) : grad)
    },
  }
  rule(context)
}
