/** @file Putting a bottleneck adapter on a model: what its layers share, and the layer of each place. */
import type { Graph } from '../../../graph/index.ts'
import type { ModelInputs } from '../../../models/index.ts'
import { Embedding, Linear, type Module, Residual } from '../../../nn/index.ts'
import { randomFor } from '../../adapterhub/first-values.ts'
import { layerNumbers } from '../../layer-numbers.ts'
import type { AdapterContext, Entered, ModelFacts, SharedContext, WrapContext } from '../../method.ts'
import { originalOf, type TunerLayer, tunerAt } from '../../tuner-layer.ts'
import { type BnConfig, bottleneckWidth } from './config.ts'
import { drawValues } from './init.ts'
import { INVERTIBLE_ADAPTERS, InverseLayer, InvertibleAdapter, InvertibleLayer } from './invertible.ts'
import { BottleneckLayer, BottleneckLinear, SHARED_PARAMETERS } from './layer.ts'
import { PhmShared, sharesPhm } from './phm.ts'
import { embeddingsPlace } from './places.ts'

/** What the adapter's layers share: rules and factors of Kronecker products, the invertible adapter. */
export function createShared(context: SharedContext<BnConfig>): Record<string, Module> {
  const { config, model, random } = context
  const shared: Record<string, Module> = {}
  const draw = (path: string, module: Module) => {
    shared[path] = drawValues(module, randomFor(config.initWeightsSeed, path, random(path)))
  }
  if (sharesPhm(config)) draw(SHARED_PARAMETERS, createPhmShared(context))
  if (config.invAdapter && config.targetModules === null) {
    draw(INVERTIBLE_ADAPTERS, new InvertibleAdapter(config, hiddenSize(model)))
  }
  return shared
}

const hiddenSize = ({ config }: ModelFacts) => (config as unknown as { hidden_size: number }).hidden_size

function createPhmShared({ config, model, targets }: SharedContext<BnConfig>): PhmShared {
  if (!config.sharedWPhm) return new PhmShared(config, 0, 0)
  const layerOf = layerNumbers(model.base)
  const widths = targets.map(path => {
    const module = model.base.getSubmodule(path)
    if (!(module instanceof Residual)) throw new Error('BnConfig: sharedWPhm works between the sublayers of a model')
    return [module.width, bottleneckWidth(config, module.width, layerOf(path))]
  })
  const [[width, bottleneck]] = widths
  if (widths.some(([, other]) => other !== bottleneck)) {
    throw new Error('BnConfig: sharedWPhm needs the same width in every layer; give one reductionFactor')
  }
  return new PhmShared(config, width, bottleneck)
}

/** The layer that stands in the place of a module; undefined where none can. */
export function wrapPlace(context: WrapContext<BnConfig>): TunerLayer | undefined {
  const { module, state, config, path, model, adapterName, shared } = context
  const original = originalOf(module)
  const drawn = { ...context, random: randomFor(config.initWeightsSeed, path, context.random) }
  if (original instanceof Residual) {
    const layer = tunerAt(module, BottleneckLayer) ?? new BottleneckLayer(module as Residual, state)
    layer.addAdapter(drawn)
    return layer
  }
  if (config.targetModules !== null) {
    if (!(original instanceof Linear)) return undefined
    const layer = tunerAt(module, BottleneckLinear) ?? new BottleneckLinear(module as Linear, state)
    layer.addAdapter(drawn)
    return layer
  }
  const Place = path === embeddingsPlace(model) ? InvertibleLayer : InverseLayer
  const layer = tunerAt<InvertibleLayer | InverseLayer>(module, Place) ?? new Place(module, state)
  layer.invertible_adapters.set(adapterName, shared[INVERTIBLE_ADAPTERS] as InvertibleAdapter)
  return layer
}

/** Changes embeddings that are given in the place of tokens, where a table of embeddings would have changed them. */
export function enterEmbedded(
  inputs: ModelInputs,
  { adapterName, config, model, layers }: AdapterContext<BnConfig> & { graph: Graph },
): Entered {
  const { inputs_embeds } = inputs
  if (!inputs_embeds || !config.invAdapter) return { inputs }
  const layer = layers.get(embeddingsPlace(model)) as InvertibleLayer
  if (!(layer.original instanceof Embedding) || !layer.activeAdapters().includes(adapterName)) return { inputs }
  const adapter = layer.invertible_adapters.get(adapterName)!
  return { inputs: { ...inputs, inputs_embeds: adapter.forward(inputs_embeds) } }
}
