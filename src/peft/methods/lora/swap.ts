/** @file What of a LoRA adapter changes when another one takes its place: scales, and ranks where they grow. */
import { Random } from '../../../util/random.ts'
import type { AdapterContext } from '../../method.ts'
import type { LoraConfig } from './config.ts'
import { LoraLayer } from './layer.ts'
import { loraSettings } from './settings.ts'

/** Options that change the computation and must be the same, as PEFT demands. */
const SAME = ['useRslora', 'loraDropout', 'alphaPattern', 'useDora', 'loraBias', 'bias'] as const

/**
 * Gives an adapter the options of another one. Where that has a larger rank, matrices of that rank take the place of the
 * adapter's own.
 *
 * @param shapes the shapes of the other adapter's tensors, by the keys of its file
 * @returns the options of what the adapter is then
 * @throws where the options differ in more than rank and scale, or tensors are missing that cannot be zero; then nothing
 *   was changed
 */
export function swapLora(
  context: AdapterContext<LoraConfig>,
  config: LoraConfig,
  shapes: ReadonlyMap<string, readonly number[]>,
): LoraConfig {
  const { adapterName: name, config: own, layers } = context
  for (const option of SAME) {
    if (JSON.stringify(own[option]) === JSON.stringify(config[option])) continue
    throw new Error(
      `hotswapAdapter: the options differ: ${option} is ${JSON.stringify(own[option])} in "${name}" and ${JSON.stringify(config[option])} in the other adapter; load it beside, with loadAdapter`,
    )
  }
  const isCovered = (path: string) => [...shapes.keys()].some(key => key.startsWith(`base_model.model.${path}.lora_`))
  const uncovered = [...layers.keys()].filter(path => !isCovered(path))
  if (own.useDora && uncovered.length) {
    throw new Error(
      `hotswapAdapter: the other adapter has no lengths for "${uncovered[0]}" (useDora), and they cannot be zero; load it beside, with loadAdapter`,
    )
  }
  const loras = [...layers].filter((entry): entry is [string, LoraLayer<never>] => entry[1] instanceof LoraLayer)
  const wanted = new Map(loras.map(([path]) => [path, loraSettings(config, path)]))
  const kept = {
    targetModules: own.targetModules,
    excludeModules: own.excludeModules,
    modulesToSave: own.modulesToSave,
  }
  const result = config.with({ ...kept, inferenceMode: own.inferenceMode }) as LoraConfig
  if (loras.some(([path, layer]) => wanted.get(path)!.rank > layer.settings[name].rank)) {
    const { adapterName, state, model, shared } = context
    for (const [path, layer] of loras) {
      const random = Random.forName(`${name}:${path}`, 0)
      layer.deleteAdapter(name)
      const { layerIndex } = layer
      layer.addAdapter({ module: layer, path, layerIndex, adapterName, config: result, state, random, model, shared })
    }
    return result
  }
  for (const [path, layer] of loras) layer.resetScale(name, wanted.get(path)!.scaling)
  const ranks = loras.map(([, layer]) => layer.settings[name].rank)
  if (loras.every(([path], i) => wanted.get(path)!.rank === ranks[i])) return result
  // The ranks stay, so the alphas have to say the scales.
  const alphas = loras.map(([path], i) => {
    const alpha = wanted.get(path)!.scaling * (own.useRslora ? Math.sqrt(ranks[i]) : ranks[i])
    return [path, alpha] as const
  })
  return result.with({ r: own.r, rankPattern: own.rankPattern, alphaPattern: Object.fromEntries(alphas) }) as LoraConfig
}
