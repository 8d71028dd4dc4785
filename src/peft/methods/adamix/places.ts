/** @file The modules that a mixture works on: the joints after feed-forward networks, or dense layers. */
import { Conv1D, Linear, type Module, Residual } from '../../../nn/index.ts'
import { baseModules, unwrapped } from '../../adapted-tree.ts'
import type { ModelFacts } from '../../method.ts'
import { refuseNoDefault, resolveTargets } from '../../targets.ts'
import { HEAD_MODULES } from '../../task-type.ts'
import { LORA_TARGET_MODULES } from '../lora/targets.ts'
import type { AdaMixConfig } from './config.ts'
import type { ExpertSizes } from './experts.ts'

const HEADS = ['lm_head', ...Object.values(HEAD_MODULES).flat()]

/**
 * The paths of the modules.
 *
 * @throws for adapters on a model that is no transformer, and for LoRA where no targets are known
 */
export function mixturePlaces(config: AdaMixConfig, model: ModelFacts): string[] {
  const modules = [...baseModules(model.tree)].map(({ path, module }) => ({ path, module: unwrapped(module) }))
  if (config.base === 'adapter') {
    const places = modules.filter(({ module }) => module instanceof Residual && module.sublayer === 'feedForward')
    if (places.length) return places.map(({ path }) => path)
    throw new Error(
      `ADAMIX puts adapters after the feed-forward networks of a transformer, and ${model.base.constructor.name} has none; mix LoRA on dense layers instead: base "lora" with targetModules`,
    )
  }
  const targets = config.targetModules ?? LORA_TARGET_MODULES[model.modelType]
  if (!targets) refuseNoDefault('ADAMIX', model)
  config.targetModules = targets
  const outputModules = modules.map(({ path }) => path).filter(path => HEADS.includes(path))
  return resolveTargets(model.tree, targets, config, { outputModules, strict: true })
}

/** The sizes of an expert on a module. */
export function sizesOn(module: Module): ExpertSizes {
  if (module instanceof Residual) return { input: module.width, output: module.width }
  const { inFeatures, outFeatures } = module as Linear | Conv1D
  return { input: inFeatures, output: outFeatures }
}

/** Whether LoRA can work on a module. */
export const isDense = (module: Module): module is Linear | Conv1D =>
  module instanceof Linear || module instanceof Conv1D
