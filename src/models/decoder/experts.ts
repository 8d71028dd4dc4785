/** @file A mixture of experts (arXiv 1701.06538): a router chooses for each token which feed-forward networks compute it. */
import {
  div,
  linear,
  matmul,
  mul,
  reshape,
  scatterAddElements,
  slice,
  softmax,
  sum,
  type Tensor,
  topK,
  transpose,
  unsqueeze,
  zeros,
} from '../../graph/index.ts'
import { type Activation, getActivation, Module, normalInit, Parameter } from '../../nn/index.ts'

/** What a mixture of experts is made of. */
export interface ExpertOptions {
  hidden_size: number
  /** The inner width of an expert. */
  inner: number
  experts: number
  /** How many experts compute each token. */
  chosen: number
  /** Whether the weights of the chosen experts are made to add up to one. */
  normalize: boolean
  hidden_act: string
  initializer_range: number
}

/** Says how much each expert counts for each token. */
export class TopKRouter extends Module {
  readonly chosen: number
  readonly normalize: boolean
  /** `[experts, hidden]` */
  weight: Parameter

  constructor({ experts, hidden_size, chosen, normalize, initializer_range }: ExpertOptions) {
    super()
    this.chosen = chosen
    this.normalize = normalize
    this.weight = new Parameter([experts, hidden_size], { init: normalInit(initializer_range) })
  }

  /** @param rows `[rows, hidden]` @returns `[rows, experts]`, zero for the experts that were not chosen */
  forward(rows: Tensor): Tensor {
    const probabilities = softmax(linear(rows, this.weight), -1)
    const { values, indices } = topK(probabilities, this.chosen)
    const weights = this.normalize ? div(values, sum(values, [1], true)) : values
    return scatterAddElements(zeros(rows.graph, probabilities.shape), indices, weights, 1)
  }
}

/**
 * The gated feed-forward networks of all experts, in two parameters. Every expert computes every token, and what was not
 * chosen is multiplied by zero: more work than need be, by the factor `experts / chosen`, in a few large products.
 */
export class Experts extends Module {
  readonly activation: Activation
  /** `[experts, 2 * inner, hidden]`: the rows of the gate, then those of what is gated */
  gate_up_proj: Parameter
  /** `[experts, hidden, inner]` */
  down_proj: Parameter

  constructor({ experts, inner, hidden_size, hidden_act, initializer_range }: ExpertOptions) {
    super()
    const init = normalInit(initializer_range)
    this.activation = getActivation(hidden_act)
    this.gate_up_proj = new Parameter([experts, 2 * inner, hidden_size], { init })
    this.down_proj = new Parameter([experts, hidden_size, inner], { init })
  }

  /**
   * @param rows `[rows, hidden]`
   * @param weights `[rows, experts]`
   * @returns `[rows, hidden]`
   */
  forward(rows: Tensor, weights: Tensor): Tensor {
    const inner = this.down_proj.shape[2]
    const both = matmul(unsqueeze(rows, [0]), this.gate_up_proj, { transB: true })
    const gated = mul(this.activation(slice(both, 2, 0, inner)), slice(both, 2, inner, 2 * inner))
    const weighted = mul(gated, unsqueeze(transpose(weights), [2]))
    return sum(matmul(weighted, this.down_proj, { transB: true }), [0])
  }
}

/** A feed-forward network of experts. */
export class SparseMoeBlock extends Module {
  gate: TopKRouter
  experts: Experts

  constructor(options: ExpertOptions) {
    super()
    this.gate = new TopKRouter(options)
    this.experts = new Experts(options)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns the same shape */
  forward(hidden: Tensor): Tensor {
    const rows = reshape(hidden, [-1, hidden.shape[2]])
    return reshape(this.experts.forward(rows, this.gate.forward(rows)), hidden.shape)
  }
}

/** The parts of the two parameters in checkpoints that hold each expert apart, by the names of their layers. */
export function expertPart(
  name: string,
  { gate, up, down }: { gate: string; up: string; down: string },
): { name: string; index: number } | undefined {
  const match = /^(.*\.experts)\.(\d+)\.(\w+)\.weight$/.exec(name)
  if (!match) return undefined
  const [, path, expert, layer] = match
  if (layer === gate) return { name: `${path}.gate_up_proj`, index: 2 * Number(expert) }
  if (layer === up) return { name: `${path}.gate_up_proj`, index: 2 * Number(expert) + 1 }
  return layer === down ? { name: `${path}.down_proj`, index: Number(expert) } : undefined
}

/** The names of the tensors that checkpoints hold in the place of one of the two parameters: the way back. */
export function expertParts(
  name: string,
  experts: number,
  { gate, up, down }: { gate: string; up: string; down: string },
): string[] | undefined {
  const match = /^(.*\.experts)\.(gate_up_proj|down_proj)$/.exec(name)
  if (!match) return undefined
  const [, path, parameter] = match
  const layers = parameter === 'down_proj' ? [down] : [gate, up]
  return Array.from({ length: experts }, (_, i) => layers.map(layer => `${path}.${i}.${layer}.weight`)).flat()
}

/** Refuses a configuration whose loss would count how evenly the experts are used. */
export function refuseRouterLoss(config: { readonly label: string; readonly output_router_logits: boolean }): void {
  if (!config.output_router_logits) return
  throw new Error(
    `${config.label}: "output_router_logits" is true, which adds the router's balance to the loss; that is not ` +
      'computed, expected false',
  )
}
