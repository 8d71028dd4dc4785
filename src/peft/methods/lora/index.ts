/** @file LoRA: registration. */
import { Conv1D, Embedding, Linear } from '../../../nn/index.ts'
import { didYouMean } from '../../../util/nearest.ts'
import { registerPeftMethod } from '../../method.ts'
import { patternKey } from '../../pattern.ts'
import { LoraConfig } from './config.ts'
import { LoraEmbedding, LoraLinear } from './layer.ts'
import { LORA_TARGET_MODULES } from './targets.ts'

registerPeftMethod<LoraConfig>({
  peftType: 'LORA',
  prefix: 'lora_',
  layerKinds: ['Linear', 'Conv1D', 'Embedding'],
  configFromJson: LoraConfig.fromJson,
  defaultTargetModules: modelType => LORA_TARGET_MODULES[modelType],
  wrap: context => {
    const { module, state } = context
    let layer: LoraLinear | LoraEmbedding
    if (module instanceof LoraLinear || module instanceof LoraEmbedding) layer = module
    else if (module instanceof Linear || module instanceof Conv1D) layer = new LoraLinear(module, state)
    else if (module instanceof Embedding) layer = new LoraEmbedding(module, state)
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
