/** @file The fusion of adapters: an attention over what they computed (AdapterFusion, arXiv 2005.00247). */
import { add, concat, div, dropout, mul, slice, softmax, sub, sum, type Tensor } from '../../../graph/index.ts'
import { type Initializer, Linear, Module, normalInit, Parameter, zerosInit } from '../../../nn/index.ts'
import type { AdapterFusionConfig } from '../adapter-fusion/config.ts'

/** AdapterHub's first values of queries and keys. */
const NORMAL = normalInit(0.02)
/** What stands off the diagonal of a value matrix that begins as the identity. */
const OFF_DIAGONAL = 1e-6
const REGULARIZATION = 0.01
/** The temperature at the first step, what each training step takes from it, and the lowest. */
const HOT = 50
const COOLING = 0.05
const COLD = 1

const nearIdentity: Initializer = (_, [rows, columns]) =>
  Float32Array.from({ length: rows * columns }, (_, i) => (Math.floor(i / columns) === i % columns ? 1 : OFF_DIAGONAL))

/** Mixes the results of several adapters, token by token. */
export class FusionLayer extends Module {
  readonly config: AdapterFusionConfig
  readonly attentionDropout: number
  query: Linear | undefined
  key: Linear | undefined
  value: Linear | undefined
  /** `[1]`; falls while training. */
  temperature: Parameter | undefined

  /** @param attentionDropout the model's own, used where the options name none */
  constructor(config: AdapterFusionConfig, width: number, attentionDropout: number) {
    super()
    this.config = config
    this.attentionDropout = config.dropoutProb ?? attentionDropout
    const dense = () => new Linear(width, width, { init: NORMAL, biasInit: zerosInit })
    this.query = config.query ? dense() : undefined
    this.key = config.key ? dense() : undefined
    const init = config.valueInitialized ? nearIdentity : NORMAL
    this.value = config.value ? new Linear(width, width, { bias: false, init }) : undefined
    if (!config.temperature) return
    this.temperature = Parameter.from([HOT], [1], { requiresGrad: false, isBuffer: true })
    this.temperature.varies = true
  }

  /** Lowers the temperature by one training step. */
  cool(): void {
    const { temperature } = this
    if (temperature) temperature.data[0] = Math.max(COLD, temperature.data[0] - COOLING)
  }

  /**
   * @param query what is asked with, `[batch, sequence, hidden]`
   * @param ups the scaled up-projections of the adapters
   * @param residual what is added in the end, or before
   */
  override forward(query: Tensor, ups: readonly Tensor[], residual: Tensor): Tensor {
    const { residualBefore, valueBeforeSoftmax, regularization } = this.config
    const given = residualBefore ? ups.map(up => add(up, residual)) : ups
    const asked = this.query?.forward(query) ?? query
    const keys = given.map(up => this.key?.forward(up) ?? up)
    const scores = concat(
      keys.map(key => sum(mul(asked, key), [-1], true)),
      -1,
    )
    const dropped = dropout(scores, this.attentionDropout)
    const weights = softmax(this.temperature ? div(dropped, this.temperature) : dropped, -1)
    const values = valueBeforeSoftmax && this.value ? given.map(up => this.value!.forward(up)) : given
    const parts = values.map((value, i) => mul(value, slice(weights, -1, i, i + 1)))
    const mixed = parts.reduce((total, part) => add(total, part))
    const result = !valueBeforeSoftmax && this.value ? this.value.forward(mixed) : mixed
    if (regularization && this.value && query.graph.training) query.graph.addLoss(this.regularization())
    return residualBefore ? result : add(result, residual)
  }

  /** `0.01 |V - I|²`: the value matrix stays near the identity. */
  regularization(): Tensor {
    const { weight, inFeatures } = this.value!
    const identity = new Float32Array(inFeatures ** 2)
    for (let i = 0; i < inFeatures; i++) identity[i * (inFeatures + 1)] = 1
    const difference = sub(weight, Parameter.from(identity, weight.shape, { requiresGrad: false }))
    return mul(sum(mul(difference, difference)), REGULARIZATION)
  }
}
