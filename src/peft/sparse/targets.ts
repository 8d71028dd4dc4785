/** @file The parameters that a sparse adapter chooses entries of. */
import { Embedding, LayerNorm, type Module, type Parameter, RMSNorm } from '../../nn/index.ts'
import { baseModules, unwrapped } from '../adapted-tree.ts'
import type { PeftConfig } from '../config.ts'
import type { AdapterContext, ModelFacts, TargetOptions } from '../method.ts'
import { resolveTargets } from '../targets.ts'
import type { SparseLayer } from './layer.ts'

/** The options that say which parameters take part beside the weights of the target modules. */
export interface SparseTargetOptions extends TargetOptions {
  trainBiases: boolean
  trainNorms: boolean
  trainEmbeddings: boolean
}

const isNorm = (module: Module) => module instanceof LayerNorm || module instanceof RMSNorm

/** The names of the parameters of a module that take part. */
export function trainedSlots(module: Module, { trainBiases }: Pick<SparseTargetOptions, 'trainBiases'>): string[] {
  const slots = module.ownParameters().filter(([, { isBuffer }]) => !isBuffer)
  return slots.map(([slot]) => slot).filter(slot => trainBiases || slot !== 'bias' || isNorm(module))
}

/** The paths of the modules that are named and of those beside them: norms, embeddings, and what is tied to any. */
export function withFurtherModules(
  config: SparseTargetOptions,
  { tree }: ModelFacts,
  named: readonly string[],
): readonly string[] {
  const modules = [...baseModules(tree)].map(({ path, module }) => ({ path, module: unwrapped(module) }))
  const wanted = modules.filter(
    ({ module }) => (config.trainNorms && isNorm(module)) || (config.trainEmbeddings && module instanceof Embedding),
  )
  const chosen = new Set([
    ...named,
    ...permitted(
      config,
      wanted.map(({ path }) => path),
      tree,
    ),
  ])
  const owners = modules.filter(({ path }) => chosen.has(path)).flatMap(({ module }) => weights(module))
  const tied = new Set(owners)
  for (const { path, module } of modules) if (weights(module).some(weight => tied.has(weight))) chosen.add(path)
  return [...chosen]
}

const weights = (module: Module) => module.ownParameters().map(([, parameter]) => parameter)

/** Those paths that the options do not exclude. */
function permitted(config: SparseTargetOptions, paths: readonly string[], tree: Module): readonly string[] {
  if (paths.length === 0) return []
  const { excludeModules, modulesToSave } = config
  return resolveTargets(tree, paths, { excludeModules, modulesToSave }, { outputModules: [], strict: true })
}

/** A parameter of which entries are trained, and the layers that hold it: several where it is tied. */
export interface SparsePlace {
  /** Its name in the base model. */
  name: string
  parameter: Parameter
  holders: { layer: SparseLayer; slot: string }[]
}

/** The parameters of an adapter's layers, tied ones once. */
export function sparsePlaces(
  { layers }: Pick<AdapterContext, 'layers'>,
  options: Pick<SparseTargetOptions, 'trainBiases'>,
): SparsePlace[] {
  const places = new Map<Parameter, SparsePlace>()
  for (const [path, layer] of layers as ReadonlyMap<string, SparseLayer>) {
    for (const slot of trainedSlots(layer.original, options)) {
      const parameter = layer.parameter(slot)
      const known = places.get(parameter)
      if (known) known.holders.push({ layer, slot })
      else places.set(parameter, { name: `${path}.${slot}`, parameter, holders: [{ layer, slot }] })
    }
  }
  return [...places.values()]
}

/** The sizes of the parameters that take part, from the target modules of the base. */
export function sparseSizes(
  targets: ReadonlyMap<string, Module>,
  config: PeftConfig & Pick<SparseTargetOptions, 'trainBiases'>,
): number[] {
  const parameters = [...targets.values()].flatMap(module =>
    trainedSlots(module, config).map(slot => (module as unknown as Record<string, Parameter>)[slot]),
  )
  return [...new Set(parameters)].map(({ size }) => size)
}
