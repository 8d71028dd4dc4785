/** @file A bottleneck adapter: down to a narrow width, an activation, and up again. */
import { add, dropout, expand, mul, type Operand, type Tensor } from '../../../graph/index.ts'
import {
  type Activation,
  LayerNorm,
  Linear,
  Module,
  ModuleDict,
  onesInit,
  Parameter,
  zerosInit,
} from '../../../nn/index.ts'
import { hubActivation } from '../../adapterhub/activations.ts'
import { averagedGate } from '../../adapterhub/gate.ts'
import type { BnConfig } from './config.ts'
import { adapterInits, BERT_INIT } from './init.ts'
import { PhmLayer, type PhmShared } from './phm.ts'

/** The model's own normalisation after a sum, or none. */
type Norm = { forward(x: Tensor): Tensor } | undefined

/** What enters a sequence of adapters: the sublayer's result, what the model would add to it, and its normalisation. */
export interface SublayerState {
  /** The sublayer's result, or that of the adapter before, `[batch, sequence, hidden]`. */
  result: Tensor
  /** The residual stream before the sublayer. */
  input: Tensor
  norm: Norm
}

/** What an adapter reads and what it adds to its result. */
export interface AdapterInput {
  x: Tensor
  residual: Tensor
}

/** What an adapter computes. */
export interface AdapterOutput {
  /** With residual, gate, dropout and normalisation. */
  output: Tensor
  /** The scaled up-projection alone. */
  up: Tensor
}

const sumOf = ({ result, input, norm }: SublayerState) => {
  const sum = add(result, input)
  return norm ? norm.forward(sum) : sum
}

/** One adapter, with AdapterHub's names of parameters. Its three steps are apart so that adapters can be composed. */
export class BottleneckAdapter extends Module {
  readonly config: BnConfig
  readonly activation: Activation
  /** The dense layer at `0`, or at `1` behind the adapter's own normalisation. */
  adapter_down: ModuleDict<Linear | PhmLayer>
  adapter_up: Linear | PhmLayer
  adapter_norm_before: LayerNorm | undefined
  adapter_norm_after: LayerNorm | undefined
  /** `[1]`, or `[out]` */
  scaling: Parameter | undefined
  gate: Linear | undefined

  constructor(config: BnConfig, widths: { input: number; bottleneck: number; output: number }) {
    super()
    this.config = config
    const { input, bottleneck, output } = widths
    const inits = adapterInits(config)
    const create = (from: number, to: number, direction: 'down' | 'up') =>
      config.phmLayer
        ? new PhmLayer(config, from, to, direction)
        : new Linear(from, to, { init: inits[direction], biasInit: zerosInit })
    this.activation = hubActivation(config.nonLinearity)
    this.adapter_norm_before = config.lnBefore ? new LayerNorm(input) : undefined
    this.adapter_down = new ModuleDict({ [config.lnBefore ? '1' : '0']: create(input, bottleneck, 'down') })
    this.adapter_up = create(bottleneck, output, 'up')
    this.adapter_norm_after = config.lnAfter ? new LayerNorm(output) : undefined
    this.scaling =
      typeof config.scaling === 'string'
        ? new Parameter([config.scaling === 'channel' ? output : 1], { init: onesInit })
        : undefined
    this.gate = config.useGating ? new Linear(input, 1, { init: BERT_INIT, biasInit: zerosInit }) : undefined
  }

  /** What the adapter reads of a sublayer, and what it adds to its own result. */
  before(state: SublayerState): AdapterInput {
    const { originalLnBefore, residualBeforeLn, isParallel } = this.config
    if (isParallel) return { x: state.input, residual: state.result }
    const x = originalLnBefore ? sumOf(state) : state.result
    if (residualBeforeLn === 'post_add') return { x, residual: add(state.result, state.input) }
    return { x, residual: residualBeforeLn ? state.result : x }
  }

  /**
   * The adapter itself.
   *
   * @param shared what the adapter's layers share
   */
  forward({ x, residual }: AdapterInput, shared?: PhmShared): AdapterOutput {
    const { config } = this
    const up = this.project(x, shared)
    let output = dropExamples(dropout(up, config.dropout), config.stochasticDepth)
    if (this.gate) output = mul(output, averagedGate(this.gate, x))
    // A parallel adapter adds to the sublayer's own result, which is done in the end.
    const adds = !config.isParallel
    if (adds && config.adapterResidualBeforeLn) output = add(output, residual)
    if (this.adapter_norm_after) output = this.adapter_norm_after.forward(output)
    if (adds && !config.adapterResidualBeforeLn) output = add(output, residual)
    return { output, up }
  }

  /** What the model's sublayer gives in the end, of the last adapter's result and of the state before all adapters. */
  after(output: Tensor, state: SublayerState): Tensor {
    const { isParallel, originalLnAfter } = this.config
    const result = isParallel ? add(output, state.result) : output
    return originalLnAfter ? sumOf({ ...state, result }) : result
  }

  /** The scaled up-projection. */
  private project(x: Tensor, shared: PhmShared | undefined): Tensor {
    const { config, adapter_down, adapter_up, adapter_norm_before: norm } = this
    const [[, down]] = adapter_down.children() as [[string, Linear | PhmLayer]]
    const inner = this.activation(down.forward(norm ? norm.forward(x) : x, shared))
    const scale: Operand = this.scaling ?? (config.scaling as number)
    const up = adapter_up.forward(inner, shared)
    return scale === 1 ? up : mul(up, scale)
  }
}

/** In training, makes the whole row of an example zero with probability `p` (arXiv 1603.09382). */
function dropExamples(x: Tensor, p: number): Tensor {
  if (p === 0 || !x.graph.training) return x
  const ones = x.graph.constant([1], 'float32', Array<number>(x.rank).fill(1))
  const examples = x.shape.map((dim, axis) => (axis === 0 ? dim : 1))
  return mul(x, dropout(expand(ones, examples), p))
}
