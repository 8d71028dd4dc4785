/** @file Weighted sums of (IA)3 adapters: their outputs are linear in their vectors, so the vectors are added up. */
import type { CombineContext } from '../../method.ts'
import type { IA3Config } from './config.ts'
import { IA3Layer } from './layer.ts'

/** The options of the sum. */
export function combinedIA3Config({
  sources,
  options,
  targets,
}: Omit<CombineContext<IA3Config>, 'target'> & { targets: Partial<IA3Config> }): IA3Config {
  const { combinationType: type = 'linear', ...others } = options
  if (type !== 'linear' || Object.keys(others).length) {
    throw new Error(
      `addWeightedAdapter: the vectors of IA3 are added up, so its combinationType is "linear", without other options; got ${JSON.stringify(options)}`,
    )
  }
  const feedforward = sources.map(({ config }) => config.feedforwardModules)
  const isSame = feedforward.every(modules => JSON.stringify(modules) === JSON.stringify(feedforward[0]))
  if (isSame) return sources[0].config.with(targets)
  const isFeedforward = (layer: unknown) => layer instanceof IA3Layer && layer.isFeedforward
  const paths = sources.flatMap(({ layers }) => [...layers].filter(([, layer]) => isFeedforward(layer)))
  return sources[0].config.with({ ...targets, feedforwardModules: [...new Set(paths.map(([path]) => path))] })
}

/** Adds up the vectors of each layer; an adapter that leaves a layer alone counts as ones there. */
export async function combineIA3({ sources, target }: CombineContext<IA3Config>): Promise<void> {
  for (const [path, layer] of target.layers) {
    const vector = (layer as IA3Layer).ia3_l.get(target.adapterName)!
    const total = new Float32Array(vector.size)
    for (const { name, weight, layers } of sources) {
      const own = await (layers.get(path) as IA3Layer | undefined)?.ia3_l.get(name)?.read()
      for (let i = 0; i < total.length; i++) total[i] += weight * (own?.[i] ?? 1)
    }
    vector.data = total
  }
}
