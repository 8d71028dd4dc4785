/** @file LoRA: registration. */
import { Conv1D, Embedding, Linear } from '../../../nn/index.ts'
import { didYouMean } from '../../../util/nearest.ts'
import { registerPeftMethod } from '../../method.ts'
import { patternKey } from '../../pattern.ts'
import { originalOf, tunerAt } from '../../tuner-layer.ts'
import { LoraConfig } from './config.ts'
import { LoraEmbedding, LoraLinear, loraSettings } from './layer.ts'
import { LORA_TARGET_MODULES } from './targets.ts'

const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0)
const sumOfFeatures = ({ inFeatures, outFeatures }: Linear) => inFeatures + outFeatures

registerPeftMethod<LoraConfig>({
  peftType: 'LORA',
  about: {
    title: 'LoRA',
    family: 'reparameterized',
    formula: 'y = W x + b + (α / r) B A x',
    paper: 'arXiv 2106.09685',
    parameters: 'r (in + out) a layer',
    count: (config, targets) => {
      let total = 0
      for (const [path, module] of targets) {
        const { rank } = loraSettings(config, path)
        total += rank * (module instanceof Embedding ? sum(module.weight.shape) : sumOfFeatures(module as Linear))
      }
      return total
    },
    example: options => new LoraConfig({ r: 4, loraAlpha: 8, ...options }),
    recommended: { learningRate: 2e-4 },
    oracle: 'adapters/lora-llama',
  },
  can: {
    merge: true,
    mixedBatch: 'each',
    weightedSum: false,
    convertToLora: false,
    noOpAtInit: true,
    several: true,
  },
  layerKinds: ['Linear', 'Conv1D', 'Embedding'],
  configFromJson: LoraConfig.fromJson,
  defaultTargetModules: modelType => LORA_TARGET_MODULES[modelType],
  wrap: context => {
    const { module, state } = context
    const original = originalOf(module)
    let layer: LoraLinear | LoraEmbedding
    if (original instanceof Linear || original instanceof Conv1D)
      layer = tunerAt(module, LoraLinear) ?? new LoraLinear(module as Linear, state)
    else if (original instanceof Embedding)
      layer = tunerAt(module, LoraEmbedding) ?? new LoraEmbedding(module as Embedding, state)
    else return undefined
    layer.addAdapter(context)
    return layer
  },
  validate: ({ rankPattern, alphaPattern }, targets) => {
    for (const [option, table] of Object.entries({ rankPattern, alphaPattern })) {
      for (const key of Object.keys(table)) {
        if (targets.some(path => patternKey([key], path, option))) continue
        const names = targets.map(path => path.slice(path.lastIndexOf('.') + 1))
        throw new Error(
          `LoraConfig: ${option} names "${key}", which matches no target module.${didYouMean(key, names)}`,
        )
      }
    }
  },
})

export { LoraConfig, type LoraConfigOptions } from './config.ts'
export { LoraEmbedding, LoraLinear } from './layer.ts'
