/** @file New adapters that are weighted sums of others: what all methods have in common. */
import type { AnyPeftConfig, PeftModel } from './model.ts'
import { ModulesToSaveWrapper } from './modules-to-save.ts'

/** The ways of adding up that PEFT names. Which of them there are is the method's affair. */
export type CombinationType =
  | 'svd'
  | 'linear'
  | 'cat'
  | 'ties'
  | 'ties_svd'
  | 'dare_ties'
  | 'dare_linear'
  | 'dare_ties_svd'
  | 'dare_linear_svd'
  | 'magnitude_prune'
  | 'magnitude_prune_svd'

/** The ways of averaging that AdapterHub names; `linear` is one of them, too. */
export type AverageType = 'linear' | 'lora_linear_only_negate_b' | 'lora_delta_w_svd'

/** Options of `addWeightedAdapter`. */
export interface WeightedOptions {
  /** How the adapters are added up; by default the method's own way (LoRA: `svd`). */
  combinationType?: CombinationType | AverageType
  /** Whether weights are divided by their sum, for AdapterHub's methods (true). */
  normalizeWeights?: boolean
  /** The rank of the new adapter, for the types with `svd`; by default the largest of the adapters'. */
  svdRank?: number
  /** The share of the values that is kept, for the types that prune. */
  density?: number
  /** How the sign of an element is elected: by the sum of the values, or by their number (`total`). */
  majoritySignMethod?: 'total' | 'frequency'
  /** Decides which values `dare` drops (0). */
  seed?: number
}

/**
 * Adds the adapter `adapterName`, the sum of `adapters` with `weights`.
 *
 * @throws when the name is taken, an adapter is not there or named twice, methods differ or have no sum, or several
 *   adapters train a module as a whole; then nothing was changed
 */
export async function addWeightedAdapter(
  model: PeftModel,
  adapters: readonly string[],
  weights: readonly number[],
  adapterName: string,
  options: WeightedOptions,
): Promise<void> {
  const fail = (message: string): never => {
    throw new Error(`addWeightedAdapter: ${message}`)
  }
  if (adapters.length === 0) fail('no adapters were named; name those to add up')
  const contexts = adapters.map(name => model.adapter(name))
  if (model.adapterNames().includes(adapterName)) {
    fail(`there already is an adapter "${adapterName}"; delete it, or choose another name`)
  }
  if (weights.length !== adapters.length) {
    fail(`${adapters.length} adapters need as many weights, got ${weights.length}`)
  }
  if (new Set(adapters).size < adapters.length)
    fail('an adapter is named twice; name it once with the sum of its weights')
  const stranger = weights.find(weight => !Number.isFinite(weight))
  if (stranger !== undefined) fail(`weights must be numbers, got ${stranger}`)
  const [{ method }] = contexts
  const other = contexts.find(context => context.method !== method)
  if (other) {
    fail(
      `"${adapters[0]}" is ${method.peftType}, "${other.adapterName}" is ${other.method.peftType}; only adapters of one method can be added up. Several methods can be active at once with setAdapter([...]).`,
    )
  }
  const { combine, combinedConfig } = method
  if (!method.can.weightedSum || !combine || !combinedConfig) {
    fail(
      `adapters of ${method.about.title} cannot be added up: a sum of their values is not the sum of what they do. Where several can be active at once, use setAdapter([...]).`,
    )
  }
  for (const [path, module] of model.model.namedModules()) {
    if (!(module instanceof ModulesToSaveWrapper)) continue
    const own = adapters.filter(name => module.adapterNames().includes(name))
    if (own.length > 1) {
      fail(
        `${own.join(' and ')} both train "${path}" as a whole (modulesToSave), and such modules cannot be added up; combine adapters of which at most one has it`,
      )
    }
  }
  const sources = contexts.map(({ adapterName: name, config, layers, shared }, i) => {
    return { name, weight: weights[i], config: config as AnyPeftConfig, layers, shared }
  })
  const config = combinedConfig!({ sources, options, targets: commonTargets(model, adapters) }) as AnyPeftConfig
  model.addAdapter(adapterName, config)
  try {
    const target = model.adapter(adapterName)
    await combine!({ sources, options, target })
    await takeModules(model, adapters, adapterName)
    model.setRequiresGrad(adapterName, model.adapterState.active.includes(adapterName))
  } catch (cause) {
    model.deleteAdapter(adapterName)
    throw cause
  }
}

/** The options that choose the modules of all adapters: those of the first where all agree, otherwise their paths. */
function commonTargets(model: PeftModel, adapters: readonly string[]): Partial<AnyPeftConfig> {
  const chosen = adapters.map(name => model.configOf(name))
  const describe = ({ targetModules, excludeModules, layersToTransform, layersPattern }: AnyPeftConfig) =>
    JSON.stringify([targetModules, excludeModules, layersToTransform, layersPattern])
  const saved = [...new Set(chosen.flatMap(({ modulesToSave }) => modulesToSave ?? []))]
  const modulesToSave = saved.length ? saved : null
  if (chosen.every(config => describe(config) === describe(chosen[0]))) return { modulesToSave }
  return {
    modulesToSave,
    targetModules: [...new Set(adapters.flatMap(name => model.targetedModules(name)))],
    excludeModules: null,
    layersToTransform: null,
    layersPattern: null,
  }
}

/** Gives the new adapter the modules that one of the others trained as a whole. */
async function takeModules(model: PeftModel, adapters: readonly string[], adapterName: string): Promise<void> {
  for (const [, module] of model.model.namedModules()) {
    if (!(module instanceof ModulesToSaveWrapper)) continue
    const source = adapters.find(name => module.adapterNames().includes(name))
    const [from, to] = [module.modules_to_save.get(source ?? ''), module.modules_to_save.get(adapterName)]
    if (!from || !to) continue
    const values = from.parameters()
    for (const [i, parameter] of to.parameters().entries()) parameter.data = (await values[i].read()).slice()
  }
}
