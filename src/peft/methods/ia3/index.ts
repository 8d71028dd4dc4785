/** @file (IA)3: registration. */
import { Conv1D, Linear } from '../../../nn/index.ts'
import { registerPeftMethod } from '../../method.ts'
import { IA3Config } from './config.ts'
import { IA3Layer, isFeedforward } from './layer.ts'
import { IA3_MODULES } from './targets.ts'

registerPeftMethod<IA3Config>({
  peftType: 'IA3',
  prefix: 'ia3_',
  layerKinds: ['Linear', 'Conv1D'],
  configFromJson: IA3Config.fromJson,
  defaultTargetModules: modelType => IA3_MODULES[modelType]?.targets,
  complete: (config, modelType) => {
    config.feedforwardModules ??= IA3_MODULES[modelType]?.feedforward ?? []
  },
  wrap: context => {
    const { module, state, config, path } = context
    let layer: IA3Layer
    if (module instanceof IA3Layer) layer = module
    else if (module instanceof Linear || module instanceof Conv1D) {
      layer = new IA3Layer(module, state, isFeedforward(config, path))
    } else return undefined
    if (layer.isFeedforward !== isFeedforward(config, path)) {
      throw new Error(
        `IA3: another adapter scales the ${layer.isFeedforward ? 'input' : 'output'} of "${path}", this one does not`,
      )
    }
    layer.addAdapter(context)
    return layer
  },
})

export { IA3Config, type IA3ConfigOptions } from './config.ts'
export { IA3Layer } from './layer.ts'
