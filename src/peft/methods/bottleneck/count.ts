/** @file How many values a bottleneck adapter trains, in closed form. */
import { type Linear, type Module, Residual } from '../../../nn/index.ts'
import { layerNumbers } from '../../layer-numbers.ts'
import type { ModelFacts } from '../../method.ts'
import { type BnConfig, bottleneckWidth } from './config.ts'
import { invertibleWidths } from './invertible.ts'
import { embeddingsPlace } from './places.ts'

interface Widths {
  input: number
  bottleneck: number
  output: number
}

/** The number of trained values, from the widths of the target modules. */
export function countBottleneck(config: BnConfig, targets: ReadonlyMap<string, Module>, model: ModelFacts): number {
  const layerOf = layerNumbers(model.base)
  const embeddings = config.invAdapter ? embeddingsPlace(model) : undefined
  let total = 0
  let widths: Widths | undefined
  for (const [path, module] of targets) {
    if (path === embeddings) total += countInvertible(config, model)
    const own = widthsOf(config, module, layerOf(path), path === embeddings)
    if (!own) continue
    widths = own
    total += countAdapter(config, own)
  }
  return total + (widths ? countShared(config, widths) : 0)
}

function widthsOf(config: BnConfig, module: Module, layer: number | undefined, isEmbedding: boolean) {
  if (module instanceof Residual) {
    const { width } = module
    return { input: width, bottleneck: bottleneckWidth(config, width, layer), output: width }
  }
  if (isEmbedding || config.targetModules === null) return undefined
  const { inFeatures, outFeatures } = module as Linear
  const bottleneck = bottleneckWidth(config, outFeatures, layer)
  return { input: config.isParallel ? inFeatures : outFeatures, bottleneck, output: outFeatures }
}

/** `2 H b + b + H` for two dense layers, and what the options add. */
function countAdapter(config: BnConfig, { input, bottleneck, output }: Widths): number {
  const dense = config.phmLayer
    ? countPhm(config, input, bottleneck) + countPhm(config, bottleneck, output)
    : bottleneck * (input + output) + bottleneck + output
  const norms = (config.lnBefore ? 2 * input : 0) + (config.lnAfter ? 2 * output : 0)
  const scale = config.scaling === 'learned' ? 1 : config.scaling === 'channel' ? output : 0
  return dense + norms + scale + (config.useGating ? input + 1 : 0)
}

/** One dense layer of Kronecker products, without what is shared. */
function countPhm(config: BnConfig, input: number, output: number): number {
  const { phmDim: n, phmRank: rank } = config
  const factors = config.sharedWPhm ? 0 : config.factorizedPhmW ? rank * (input + output) : (input * output) / n
  return (config.phmBias ? output : 0) + factors + (config.sharedPhmRule ? 0 : countRules(config))
}

function countRules({ learnPhm, factorizedPhmRule, phmDim: n }: BnConfig): number {
  if (!learnPhm) return 0
  return factorizedPhmRule ? 2 * n ** 2 : n ** 3
}

function countShared(config: BnConfig, { input, bottleneck }: Widths): number {
  if (!config.phmLayer) return 0
  const factors = config.sharedWPhm ? 2 * config.phmRank * (input + bottleneck) : 0
  return factors + (config.sharedPhmRule ? countRules(config) : 0)
}

/** Two couplings of two dense layers on half of the hidden state. */
function countInvertible(config: BnConfig, { config: model }: ModelFacts): number {
  const { half, inner } = invertibleWidths(config, (model as unknown as { hidden_size: number }).hidden_size)
  return 2 * (2 * half * inner + inner + half)
}
