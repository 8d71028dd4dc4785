/** @file Dense layers that are sums of Kronecker products (PHM, arXiv 2102.08597; Compacter, arXiv 2106.04647). */
import { linear, matmul, type Operand, reshape, type Tensor, transpose } from '../../../graph/index.ts'
import { Module, normalInit, Parameter, uniformInit, zerosInit } from '../../../nn/index.ts'
import type { BnConfig } from './config.ts'
import { xavierNormalInit } from './init.ts'

/** The width of the distribution of rules that a layer has for itself. */
const OWN_RULE_RANGE = 0.01

/** Σ_j A_j ⊗ B_j for `a` of shape `[n, p, q]` and `b` of shape `[n, r, s]`: `[p r, q s]`. */
export function kroneckerSum(
  a: Operand,
  b: Operand,
  [n, p, q]: readonly number[],
  [, r, s]: readonly number[],
): Tensor {
  const products = matmul(reshape(a, [n, p * q]), reshape(b, [n, r * s]), { transA: true })
  return reshape(transpose(reshape(products, [p, q, r, s]), [0, 2, 1, 3]), [p * r, q * s])
}

/** The first factors of the products: whole matrices, or products of vectors. */
interface Rules {
  /** `[n, n, n]` */
  phm_rule?: Parameter
  /** `[n, n, 1]` */
  phm_rule_left?: Parameter
  /** `[n, 1, n]` */
  phm_rule_right?: Parameter
}

function createRules(config: BnConfig, range: number): Rules {
  const { phmDim: n, factorizedPhmRule, phmCInit, learnPhm: requiresGrad } = config
  const options = { init: phmCInit === 'uniform' ? uniformInit(range) : normalInit(range), requiresGrad }
  if (!factorizedPhmRule) return { phm_rule: new Parameter([n, n, n], options) }
  return { phm_rule_left: new Parameter([n, n, 1], options), phm_rule_right: new Parameter([n, 1, n], options) }
}

const rulesOf = ({ phm_rule, phm_rule_left, phm_rule_right }: Rules): Operand =>
  phm_rule ?? matmul(phm_rule_left!, phm_rule_right!)

/** The two narrow matrices of the second factors, `[n, in / n, rank]` and `[n, rank, out / n]`. */
function createFactors({ phmDim: n, phmRank: rank }: BnConfig, inFeatures: number, outFeatures: number) {
  const create = (shape: readonly number[]) => new Parameter(shape, { init: xavierNormalInit })
  return [create([n, inFeatures / n, rank]), create([n, rank, outFeatures / n])]
}

/** What all PHM layers of an adapter share, under AdapterHub's names. It only holds it. */
export class PhmShared extends Module implements Rules {
  phm_rule: Parameter | undefined
  phm_rule_left: Parameter | undefined
  phm_rule_right: Parameter | undefined
  W_down_left: Parameter | undefined
  W_down_right: Parameter | undefined
  W_up_left: Parameter | undefined
  W_up_right: Parameter | undefined

  constructor(config: BnConfig, width: number, bottleneck: number) {
    super()
    if (config.sharedPhmRule) Object.assign(this, createRules(config, config.phmInitRange))
    if (!config.sharedWPhm) return
    ;[this.W_down_left, this.W_down_right] = createFactors(config, width, bottleneck)
    ;[this.W_up_left, this.W_up_right] = createFactors(config, bottleneck, width)
  }

  forward(): never {
    throw new Error('PhmShared only holds parameters')
  }
}

/** Whether the PHM layers of an adapter share anything. */
export const sharesPhm = ({ phmLayer, sharedPhmRule, sharedWPhm }: BnConfig) =>
  phmLayer && (sharedPhmRule || sharedWPhm)

/** `x H + b` with H = Σ_j rule_j ⊗ W_j. */
export class PhmLayer extends Module implements Rules {
  readonly direction: 'down' | 'up'
  readonly size: number
  readonly weightShape: readonly number[]
  phm_rule: Parameter | undefined
  phm_rule_left: Parameter | undefined
  phm_rule_right: Parameter | undefined
  /** `[n, in / n, out / n]` */
  W: Parameter | undefined
  W_left: Parameter | undefined
  W_right: Parameter | undefined
  /** `[out]` */
  b: Parameter | undefined

  constructor(config: BnConfig, inFeatures: number, outFeatures: number, direction: 'down' | 'up') {
    super()
    const { phmDim: n } = config
    for (const features of [inFeatures, outFeatures]) {
      if (features % n === 0) continue
      throw new Error(
        `BnConfig: a layer of ${inFeatures} to ${outFeatures} features cannot be cut into phmDim ${n} parts; both must be divisible. Choose another reductionFactor or phmDim`,
      )
    }
    this.direction = direction
    this.size = n
    this.weightShape = [n, inFeatures / n, outFeatures / n]
    if (!config.sharedPhmRule) Object.assign(this, createRules(config, OWN_RULE_RANGE))
    if (!config.sharedWPhm && config.factorizedPhmW) {
      ;[this.W_left, this.W_right] = createFactors(config, inFeatures, outFeatures)
    } else if (!config.sharedWPhm) {
      this.W = new Parameter(this.weightShape, { init: xavierNormalInit })
    }
    this.b = config.phmBias ? new Parameter([outFeatures], { init: zerosInit }) : undefined
  }

  /** @param x `[..., in]` @param shared what it shares with the adapter's other layers @returns `[..., out]` */
  forward(x: Tensor, shared?: PhmShared): Tensor {
    const { size: n } = this
    const rules = rulesOf(this.phm_rule || this.phm_rule_left ? (this as Rules) : shared!)
    const matrix = kroneckerSum(rules, this.secondFactors(shared), [n, n, n], this.weightShape)
    return linear(x, matrix, this.b, true)
  }

  private secondFactors(shared: PhmShared | undefined): Operand {
    if (this.W) return this.W
    if (this.W_left) return matmul(this.W_left, this.W_right!)
    return this.direction === 'down'
      ? matmul(shared!.W_down_left!, shared!.W_down_right!)
      : matmul(shared!.W_up_left!, shared!.W_up_right!)
  }
}
