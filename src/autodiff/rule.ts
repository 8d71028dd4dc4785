/** @file What a gradient rule is, and the table that holds one for each operator. */
import { type Node, reshape, type Shape, sum, type Tensor } from '../graph/index.ts'

/** What a rule sees of the node it differentiates. */
export interface RuleContext {
  readonly node: Node
  readonly inputs: readonly Tensor[]
  readonly outputs: readonly Tensor[]
  /** The gradient with respect to each output; undefined where the loss does not depend on it. */
  readonly grads: readonly (Tensor | undefined)[]
  /** The gradient with respect to the first output. */
  readonly grad: Tensor
  /** Whether the gradient with respect to this input is wanted. */
  needs(input: number): boolean
  /** Adds to the gradient with respect to an input; `grad` must have the input's shape. */
  give(input: number, grad: Tensor): void
}

/** Emits the nodes of a vector-Jacobian product. */
export type GradientRule = (context: RuleContext) => void

const rules = new Map<string, GradientRule>()

/** Registers the rule of an operator. There is one rule for each; a second is refused. */
export function defineGradient(op: string, rule: GradientRule): void {
  if (rules.has(op)) throw new Error(`The operator ${op} already has a gradient rule`)
  rules.set(op, rule)
}

/** The rule of an operator, if it has one. */
export function gradientRule(op: string): GradientRule | undefined {
  return rules.get(op)
}

/** The operators that have a rule. */
export function differentiableOperators(): string[] {
  return [...rules.keys()]
}

/** The gradient of a broadcast: `grad` summed over the axes along which a tensor of `shape` was repeated. */
export function sumToShape(grad: Tensor, shape: Shape): Tensor {
  const extra = grad.rank - shape.length
  const axes = grad.shape.flatMap((dim, i) => (i < extra || (shape[i - extra] === 1 && dim !== 1) ? [i] : []))
  return reshape(axes.length ? sum(grad, axes, true) : grad, shape)
}
