/** @file New adapters whose parameters are weighted means of others', as AdapterHub's `average_adapter` makes them. */
import type { Parameter } from '../../nn/index.ts'
import { Module } from '../../nn/index.ts'
import { didYouMean } from '../../util/nearest.ts'
import type { PeftConfig } from '../config.ts'
import type { AdapterContext, CombineContext, TargetOptions } from '../method.ts'
import type { AverageType, WeightedOptions } from '../weighted.ts'

const OPTIONS = ['combinationType', 'normalizeWeights', 'svdRank'] as const

/** Options of a configuration that may differ between adapters that are averaged: they do not say what is computed. */
const PERSONAL = [
  'auto_mapping',
  'base_model_name_or_path',
  'dtype',
  'inference_mode',
  'init_weights',
  'init_weights_seed',
  'modules_to_save',
  'peft_version',
  'revision',
  'task_type',
]

const fail = (message: string): never => {
  throw new Error(`addWeightedAdapter: ${message}`)
}

/** What {@link averagedConfig} is told of a method. */
export interface AverageRules {
  /** The ways of averaging that it has. */
  types: readonly AverageType[]
  /** The keys of its options that may differ as well. */
  free?: readonly string[]
}

/** The type of an average. Throws for one that a method does not have, and for options that belong to others. */
export function averageType(options: WeightedOptions, types: readonly AverageType[]): AverageType {
  for (const name of Object.keys(options)) {
    if ((OPTIONS as readonly string[]).includes(name)) continue
    fail(`averages have no option "${name}".${didYouMean(name, OPTIONS)} They have ${OPTIONS.join(', ')}.`)
  }
  const { combinationType: given = 'linear', svdRank } = options
  const type = types.find(known => known === given)
  if (!type) return fail(`these adapters have no combinationType "${given}"; they have ${types.join(', ')}`)
  if (svdRank === undefined) return type
  if (type !== 'lora_delta_w_svd') {
    fail(`svdRank is the rank that combinationType "lora_delta_w_svd" gives, not "${type}"; leave it out`)
  }
  if (!(Number.isInteger(svdRank) && svdRank > 0)) fail(`svdRank must be a whole number above 0, got ${svdRank}`)
  return type
}

/**
 * The options of an average: those of the adapters, which must agree.
 *
 * @throws for a way of averaging that there is not, and for adapters with different options
 */
export function averagedConfig<C extends PeftConfig & TargetOptions>(
  { sources, options, targets }: Omit<CombineContext<C>, 'target'> & { targets: Partial<C> },
  { types, free = [] }: AverageRules = { types: ['linear'] },
): C {
  averageType(options, types)
  const ignored = new Set([...PERSONAL, ...free])
  const [first, ...others] = sources.map(({ name, config }) => ({ name, json: essence(config.toJSON(), ignored) }))
  for (const { name, json } of others) {
    const key = Object.keys({ ...first.json, ...json }).find(
      option => JSON.stringify(first.json[option]) !== JSON.stringify(json[option]),
    )
    if (key === undefined) continue
    fail(
      `"${first.name}" and "${name}" differ in "${key}" (${JSON.stringify(first.json[key])} and ${JSON.stringify(json[key])}), so their parameters cannot be averaged one by one; average adapters of the same options`,
    )
  }
  return sources[0].config.with({ modulesToSave: targets.modulesToSave ?? null })
}

/** A configuration in JSON without some keys, those of its parts too. */
function essence(json: Record<string, unknown>, ignored: ReadonlySet<string>): Record<string, unknown> {
  const inner = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(inner)
    return typeof value === 'object' && value !== null ? essence(value as Record<string, unknown>, ignored) : value
  }
  return Object.fromEntries(
    Object.entries(json)
      .filter(([key]) => !ignored.has(key))
      .map(([key, value]) => [key, inner(value)]),
  )
}

/** The weights of the adapters, divided by their sum unless told otherwise. */
export function averageWeights({ sources, options }: Pick<CombineContext, 'sources' | 'options'>): number[] {
  const weights = sources.map(({ weight }) => weight)
  if (options.normalizeWeights === false) return weights
  const sum = weights.reduce((total, weight) => total + weight, 0)
  if (sum === 0) fail('the weights add up to 0, by which they cannot be divided; set normalizeWeights to false')
  return weights.map(weight => weight / sum)
}

/**
 * Gives a new adapter the weighted means of the parameters of others, frozen and shared ones too.
 *
 * @param weightsOf the weights for the parameter at a path; none for one that is left as it is
 */
export async function averageParameters(
  context: Pick<CombineContext, 'sources' | 'options' | 'target'>,
  weightsOf: (path: string, weights: readonly number[]) => readonly number[] | undefined = (_, weights) => weights,
): Promise<void> {
  const { sources, target } = context
  const weights = averageWeights(context)
  const given = sources.map(({ name: adapterName, layers, shared }) => ownParameters({ adapterName, layers, shared }))
  for (const [path, parameter] of ownParameters(target)) {
    const own = weightsOf(path, weights)
    if (!own) continue
    const mean = new Float64Array(parameter.size)
    for (const [i, parameters] of given.entries()) {
      const values = await parameters.get(path)?.read()
      if (values?.length !== mean.length) {
        fail(
          `"${sources[i].name}" has ${values ? `${values.length} values` : 'nothing'} at "${path}", where the average has ${mean.length}; average adapters of the same options on the same modules`,
        )
      }
      values!.forEach((value, at) => {
        mean[at] += own[i] * value
      })
    }
    parameter.data = Float32Array.from(mean)
  }
}

/** The parameters of an adapter, shared ones once, by paths that do not depend on its name. */
function ownParameters({
  adapterName,
  layers,
  shared,
}: Pick<AdapterContext, 'adapterName' | 'layers' | 'shared'>): Map<string, Parameter> {
  const found = new Map<Parameter, string>()
  const add = (path: string, parameter: Parameter) => {
    if (!found.has(parameter)) found.set(parameter, path)
  }
  for (const [place, value] of Object.entries(shared)) {
    const slots = value instanceof Module ? value.parameterSlots() : [['', value] as const]
    for (const [name, parameter] of slots) add(`${place}.${name}`, parameter)
  }
  for (const [place, layer] of layers) {
    const adapters = layer.adapterNames()
    for (const [name, parameter] of layer.parameterSlots()) {
      const parts = name.split('.')
      // The first of them owns it: an adapter may be called as a parameter is.
      const owner = parts.findIndex(part => adapters.includes(part))
      // What lies within a wrapped module has a path of its own.
      if (parts[0] === 'base_layer' || parts[owner] !== adapterName) continue
      add(`${place}.${parts.toSpliced(owner, 1).join('.')}`, parameter)
    }
  }
  return new Map([...found].map(([parameter, path]) => [path, parameter]))
}
