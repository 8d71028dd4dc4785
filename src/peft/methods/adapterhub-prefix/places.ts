/** @file The attention layers that prefixes stand in, and the groups that AdapterHub puts them in. */
import { AttentionModule, type AttentionRole } from '../../../models/attention-context.ts'
import { baseModules, unwrapped } from '../../adapted-tree.ts'
import { layerNumbers } from '../../layer-numbers.ts'
import type { ModelFacts } from '../../method.ts'
import type { AdapterHubPrefixConfig } from './config.ts'

/** An attention layer of a model. */
export interface AttentionPlace {
  path: string
  module: AttentionModule
}

/** All attention layers of a model, in its order. */
export function attentionPlaces({ tree }: Pick<ModelFacts, 'tree'>): AttentionPlace[] {
  return [...baseModules(tree)].flatMap(({ path, module }) => {
    const original = unwrapped(module)
    return original instanceof AttentionModule ? [{ path, module: original }] : []
  })
}

/** The attention layers that get a prefix. Throws for a model without any. */
export function choosePrefixPlaces(config: AdapterHubPrefixConfig, model: ModelFacts): string[] {
  const all = attentionPlaces(model)
  if (all.length === 0) {
    throw new Error(
      `ADAPTERHUB_PREFIX gives attention layers further keys and values; ${model.base.constructor.name} has no attention layers that take them. Use a method that works on layers, such as LORA.`,
    )
  }
  const layerOf = layerNumbers(model.base)
  const group = groupNames(model)
  const isWanted = ({ path, module }: AttentionPlace) => {
    if (config.leaveOut.includes(layerOf(path) ?? -1)) return false
    const name = group(module.role)
    return name === ENCODER ? config.encoderPrefix : name === CROSS ? config.crossPrefix : true
  }
  const chosen = all.filter(isWanted).map(({ path }) => path)
  if (chosen.length > 0) return chosen
  throw new Error(
    `AdapterHubPrefixConfig: no layer is left that gets a prefix (leaveOut ${JSON.stringify(config.leaveOut)}); leave fewer out`,
  )
}

const ENCODER = 'encoder_prefix'
const CROSS = 'cross_prefix'

/** The name of the group that the prefixes of a role belong to; a model without cross-attention has one group. */
export function groupNames(model: ModelFacts): (role: AttentionRole) => string {
  const own = model.modelType === 'distilbert' ? 'self' : 'self_prefix'
  const hasCross = attentionPlaces(model).some(({ module }) => module.role === 'cross')
  return role => (!hasCross || role === 'decoder' ? own : role === 'cross' ? CROSS : ENCODER)
}

/** The prefixes of one group. */
export interface PrefixGroup {
  /** The paths of its attention layers, in the order of their keys and values in the group. */
  paths: string[]
  /** The heads of keys and values in each. */
  heads: number
  /** The width of one head. */
  width: number
}

/** The groups of prefixes of the chosen attention layers, by name. Throws where layers of a group differ. */
export function prefixGroups(targets: Iterable<string>, model: ModelFacts): Map<string, PrefixGroup> {
  const chosen = new Set(targets)
  const nameOf = groupNames(model)
  const groups = new Map<string, PrefixGroup>()
  for (const { path, module } of attentionPlaces(model)) {
    if (!chosen.has(path)) continue
    const { numKeyValueHeads: heads, headWidth: width } = module
    const name = nameOf(module.role)
    const group = groups.get(name)
    if (!group) groups.set(name, { paths: [path], heads, width })
    else if (group.heads === heads && group.width === width) group.paths.push(path)
    else {
      throw new Error(
        `ADAPTERHUB_PREFIX: the attention layers of ${model.modelType} have different heads ("${group.paths[0]}" ${group.heads} of ${group.width}, "${path}" ${heads} of ${width}), so that one prefix does not fit all; name those of one kind in leaveOut`,
      )
    }
  }
  return groups
}
