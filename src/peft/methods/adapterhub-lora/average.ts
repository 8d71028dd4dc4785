/** @file Averages of adapters of AdapterHub's LoRA family. */
import { matrix } from '../../../util/linear-algebra/index.ts'
import { type LowRank, reducedProduct, sideBySide } from '../../../util/linear-algebra/low-rank.ts'
import { averagedConfig, averageParameters, averageType, averageWeights } from '../../adapterhub/average.ts'
import type { CombineContext } from '../../method.ts'
import type { TunerLayer } from '../../tuner-layer.ts'
import type { AverageType } from '../../weighted.ts'
import { type AdapterHubLoraConfig, isVera } from './config.ts'
import type { HubLoraLayer } from './layer.ts'
import { LowRankAdapter } from './low-rank.ts'

const TYPES: readonly AverageType[] = ['linear', 'lora_linear_only_negate_b', 'lora_delta_w_svd']

/**
 * The options of an average. After `lora_delta_w_svd` of another rank alpha is another one, so that alpha / r stays what
 * it was: AdapterHub keeps alpha, and what is computed is then not the average.
 */
export function averagedLoraConfig(
  context: Omit<CombineContext<AdapterHubLoraConfig>, 'target'> & { targets: Partial<AdapterHubLoraConfig> },
): AdapterHubLoraConfig {
  const { sources, options } = context
  const type = averageType(options, TYPES)
  if (type !== 'linear') for (const { name, config } of sources) requirePlain(name, config, type)
  const isSvd = type === 'lora_delta_w_svd'
  const config = averagedConfig(context, { types: TYPES, free: isSvd ? ['alpha', 'r'] : [] })
  if (!isSvd) return config
  const r = options.svdRank ?? Math.max(...sources.map(source => source.config.r))
  return config.with({ r, alpha: (config.alpha * r) / config.r })
}

/** Refuses what is not an update of low rank alone. */
function requirePlain(name: string, config: AdapterHubLoraConfig, type: AverageType): void {
  const { compositionMode, useDora, useGating } = config
  const reason =
    compositionMode === 'scale'
      ? 'scales the outputs (compositionMode "scale")'
      : isVera(config)
        ? 'has matrices that all layers share (VeRA)'
        : useDora
          ? 'changes the lengths of rows (useDora)'
          : useGating && type === 'lora_linear_only_negate_b'
            ? 'has gates (useGating)'
            : undefined
  if (!reason) return
  throw new Error(
    `addWeightedAdapter: "${name}" ${reason}, which combinationType "${type}" has no place for; use "linear"`,
  )
}

/** Gives a new adapter the values of an average. */
export async function averageLora(context: CombineContext<AdapterHubLoraConfig>): Promise<void> {
  const type = averageType(context.options, TYPES)
  const isFactor = (path: string) => /\.lora_[AB]$/.test(path)
  if (type === 'linear') return averageParameters(context)
  if (type === 'lora_linear_only_negate_b') {
    return averageParameters(context, (path, weights) => (path.endsWith('.lora_A') ? weights.map(Math.abs) : weights))
  }
  await averageParameters(context, (path, weights) => (isFactor(path) ? undefined : weights))
  await decomposeAverage(context)
}

/** The average of what adapters add to each block of each layer, as two matrices of the target's rank. */
async function decomposeAverage(context: CombineContext<AdapterHubLoraConfig>): Promise<void> {
  const { sources, target } = context
  const weights = averageWeights(context)
  // A gate takes the place of the scale.
  const scaleOf = ({ alpha, r, useGating }: AdapterHubLoraConfig) => (useGating ? 1 : alpha / r)
  const factors = sources.map(({ config }, i) => (weights[i] * scaleOf(config)) / scaleOf(target.config))
  for (const [path, layer] of target.layers) {
    const own = adapterAt(layer, target.adapterName)
    const updates = await Promise.all(sources.map(({ name, layers }) => blocksOf(adapterAt(layers.get(path)!, name))))
    const { r } = target.config
    const a = new Float32Array(own.lora_A.size)
    const b = new Float32Array(own.lora_B.size)
    for (const block of own.blocks.chosen.keys()) {
      const sum = sideBySide(updates.map((blocks, i) => ({ ...blocks[block], weight: factors[i] })))
      const parts = reducedProduct(sum, r)
      a.set(parts.a.data, block * parts.a.data.length)
      b.set(parts.b.data, block * parts.b.data.length)
    }
    own.lora_A.data = a
    own.lora_B.data = b
  }
}

function adapterAt(layer: TunerLayer, name: string): LowRankAdapter {
  const adapter = (layer as HubLoraLayer).loras.get(name)
  if (adapter instanceof LowRankAdapter) return adapter
  throw new Error(`addWeightedAdapter: "${name}" is no update of low rank; use combinationType "linear"`)
}

/** The matrices of each block that an adapter changes. */
async function blocksOf({ lora_A, lora_B, blocks, config }: LowRankAdapter): Promise<LowRank[]> {
  const [a, b] = await Promise.all([lora_A.read(), lora_B.read()])
  const { r } = config
  const { width, chosen } = blocks
  const columns = lora_A.shape[1]
  return [...chosen.keys()].map(i => ({
    a: matrix(r, columns, a.slice(i * r * columns, (i + 1) * r * columns)),
    b: matrix(width, r, b.slice(i * width * r, (i + 1) * width * r)),
  }))
}
