/** @file The modules that a bottleneck adapter works on: residual connections, embeddings, or dense layers by name. */
import { Residual, type Sublayer } from '../../../nn/index.ts'
import { baseModules, unwrapped } from '../../adapted-tree.ts'
import { basePrefix, HUB_MODEL_TYPES, hubPlaces } from '../../adapterhub/places.ts'
import { layerNumbers } from '../../layer-numbers.ts'
import { type ModelFacts, pretrained } from '../../method.ts'
import { resolveTargets } from '../../targets.ts'
import type { BnConfig } from './config.ts'

/** The paths of the modules that the adapter works on. */
export function choosePlaces(config: BnConfig, model: ModelFacts): string[] {
  const layerOf = layerNumbers(model.base)
  const isKept = (path: string) => !config.leaveOut.includes(layerOf(path) ?? -1)
  if (config.targetModules !== null) {
    return resolveTargets(model.tree, config.targetModules, config, { outputModules: [], strict: true }).filter(isKept)
  }
  const wanted = new Set<Sublayer>([
    ...(config.mhAdapter ? (['attention'] as const) : []),
    ...(config.outputAdapter ? (['feedForward'] as const) : []),
    ...(config.crossAdapter ? (['crossAttention'] as const) : []),
  ])
  const residuals = [...baseModules(model.tree)].flatMap(({ path, module }) => {
    const original = unwrapped(module)
    return original instanceof Residual ? [{ path, sublayer: original.sublayer }] : []
  })
  if (residuals.length === 0) {
    throw new Error(
      `BOTTLENECK works between the sublayers of a transformer, and ${model.base.constructor.name} has none; name dense layers with targetModules`,
    )
  }
  const chosen = residuals.filter(({ path, sublayer }) => wanted.has(sublayer) && isKept(path)).map(({ path }) => path)
  return [...chosen, ...(config.invAdapter ? invertiblePlaces(config, model) : [])]
}

/** The place after the embeddings, and the output layer where the change is undone before it. */
function invertiblePlaces(config: BnConfig, model: ModelFacts): string[] {
  const places = [embeddingsPlace(model)]
  const isUndone = config.invBeforeOutput ?? hubPlaces(model.modelType)?.interface !== undefined
  const output = isUndone ? outputPlace(model) : undefined
  if (output !== undefined) return [...places, output]
  if (!config.invBeforeOutput) return places
  throw new Error(
    `BnConfig: invBeforeOutput is true, and ${model.base.constructor.name} has no output layer over a vocabulary; leave it out`,
  )
}

/** The module that gives the embedded sequence. Throws for an architecture whose place is not known. */
export function embeddingsPlace(model: ModelFacts): string {
  const places = hubPlaces(model.modelType)
  if (!places) {
    throw new Error(
      `BOTTLENECK: invertible adapters stand after the embeddings, whose place in a model of type "${model.modelType}" is not known; known are ${HUB_MODEL_TYPES.join(', ')}. Leave invAdapter out`,
    )
  }
  return `${basePrefix(model)}${places.embeddings}`
}

/** The output layer over the vocabulary, where there is one. */
function outputPlace(model: ModelFacts): string | undefined {
  const output = pretrained(model, 'BOTTLENECK').getOutputEmbeddings()
  return output && [...model.base.namedModules()].find(([, module]) => module === output)?.[0]
}
