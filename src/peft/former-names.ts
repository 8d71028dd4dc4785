/** @file Adapters that were saved when modules of their base model had other names: those of checkpoints. */
import { PreTrainedModel } from '../models/index.ts'
import { baseModules } from './adapted-tree.ts'
import type { AnyPeftConfig, PeftModel } from './model.ts'
import { fullMatch } from './pattern.ts'
import { endsWithName } from './targets.ts'

/** Options that hold further names of modules, by their keys in `adapter_config.json`. */
const FURTHER_NAMES = ['excludeModules', 'rankPattern', 'alphaPattern'] as const

/**
 * The configuration with today's names in the place of target modules that no module has any more.
 *
 * @throws when former names stand in options that are not translated
 */
export function withCurrentTargets(config: AnyPeftConfig, model: PeftModel): AnyPeftConfig {
  const { targetModules } = config
  const base = model.getBaseModel()
  if (targetModules == null || !(base instanceof PreTrainedModel)) return config
  const modules = [...baseModules(base)].map(({ path }) => ({ path, former: base.checkpointName(path) }))
  if (modules.every(({ path, former }) => path === former)) return config

  const [pattern, names] =
    typeof targetModules === 'string' ? [fullMatch(targetModules, 'targetModules'), []] : [undefined, targetModules]
  if (pattern && modules.some(({ path }) => pattern.test(path))) return config
  const isFormer = (name: string) => !modules.some(({ path }) => endsWithName(path, name))
  const former = names.filter(isFormer)
  const chosen = modules.filter(
    ({ former: name }) => pattern?.test(name) || former.some(target => endsWithName(name, target)),
  )
  if (chosen.length === 0) return config
  for (const option of FURTHER_NAMES) {
    const value = (config as unknown as Record<string, unknown>)[option]
    if (value == null || Object.keys(value).length === 0) continue
    throw new Error(
      `The adapter was saved when ${base.constructor.name} called its modules otherwise ("${chosen[0].former}", now ` +
        `"${chosen[0].path}"). targetModules can be translated, ${option} not: write today's names into adapter_config.json.`,
    )
  }
  const current = [...names.filter(name => !isFormer(name)), ...chosen.map(({ path }) => path)]
  return config.with({ targetModules: current }) as AnyPeftConfig
}
