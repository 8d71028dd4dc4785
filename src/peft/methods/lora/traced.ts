/** @file Which LoRA adapters can stand in each other's place in what was traced. */
import type { AdapterContext } from '../../method.ts'
import { LoraConfig } from './config.ts'
import { LoraWeightLayer } from './layer.ts'

/** Options that a trace depends on by the shapes of matrices and by factors that are fed, or not at all. */
const FREE: ReadonlySet<string> = new Set<keyof LoraConfig>([
  ...(['r', 'rankPattern', 'loraAlpha', 'alphaPattern', 'useRslora'] as const),
  ...(['targetModules', 'excludeModules', 'layersToTransform', 'layersPattern', 'modulesToSave'] as const),
  ...(['initLoraWeights', 'loftqConfig', 'fanInFanOut'] as const),
  ...(['baseModelNameOrPath', 'revision', 'inferenceMode', 'autoMapping', 'peftVersion', 'unknownKeys'] as const),
])

/** Options that its layers have taken over, or its parameters show. */
const SHOWN: ReadonlySet<string> = new Set<keyof LoraConfig>(['loraDropout', 'useDora', 'loraBias'])

const DEFAULTS: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries(new LoraConfig()).map(([name, value]) => [name, JSON.stringify(value)]),
)

/** The options that a trace depends on; undefined for an adapter that does more than add its update to its layers. */
export function tracedLora({
  adapterName,
  config,
  layers,
}: AdapterContext<LoraConfig>): Readonly<Record<string, unknown>> | undefined {
  const settings: unknown[] = []
  for (const layer of layers.values()) {
    // What was taken out of a weight, or put in its place, are constants of this adapter.
    if (!(layer instanceof LoraWeightLayer) || layer.beginning(adapterName)) return undefined
    const { useDora, dropout } = layer.settings[adapterName]
    settings.push(useDora, dropout)
  }
  const { taskType, ...options } = config
  const isPlain = Object.entries(options).every(
    ([name, value]) => FREE.has(name) || SHOWN.has(name) || JSON.stringify(value) === DEFAULTS[name],
  )
  return isPlain ? { taskType, settings } : undefined
}
