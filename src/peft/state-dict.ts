/** @file The saved form of an adapter: which parameters belong to it, under which keys. */
import { PreTrainedModel } from '../models/index.ts'
import type { Module, Parameter } from '../nn/index.ts'
import { baseModules, canonicalSlots } from './adapted-tree.ts'
import type { PeftConfig } from './config.ts'
import { hostOf } from './hosts.ts'
import type { TargetOptions } from './method.ts'
import type { PeftModel } from './model.ts'
import { ModulesToSaveWrapper } from './modules-to-save.ts'
import { changedAlone } from './tuner-layer.ts'

/** Names of embeddings, whose weights are saved with an adapter that targets them. */
const EMBEDDING_NAMES = ['embed_tokens', 'lm_head']

/** A key without the adapter's name, which is arbitrary. */
const withoutAdapter = (key: string, adapter: string) => {
  const within = key.replaceAll(`.${adapter}.`, '.')
  // Where it stands within, the last part is a parameter that is called as the adapter.
  return within === key && key.endsWith(`.${adapter}`) ? key.slice(0, -adapter.length - 1) : within
}

/** Whether a path contains a name as one of its parts. */
const hasPart = (path: string, part: string) => path.split('.').includes(part)

/**
 * The parameters of an adapter under the keys of `adapter_model.safetensors`, as PEFT's `get_peft_model_state_dict`
 * gives them: without the adapter's name. Those of a plain tree that an adapter was injected into have its own names.
 */
export function getPeftModelStateDict(model: PeftModel | Module, adapterName = 'default'): Map<string, Parameter> {
  const host = hostOf(model)
  if (!host) return stateDictOf(model as PeftModel, adapterName)
  return new Map([...stateDictOf(host, adapterName)].map(([key, parameter]) => [withoutPrefix(key), parameter]))
}

/** Keys of a plain tree, into which adapters were injected, are those of its modules. */
const withoutPrefix = (key: string) => key.replace(/^base_model\.model\./, '')

function stateDictOf(model: PeftModel, adapterName: string): Map<string, Parameter> {
  const adapter = model.adapter(adapterName)
  const { config, method, targets } = adapter
  const { slots, own } = adapterSlots(model, adapterName)
  const result = method.stateDict?.(adapter, own) ?? own
  const take = (path: string) => {
    const parameter = slots.get(path)
    if (parameter) result.set(withoutAdapter(path, adapterName), parameter)
  }
  const { bias } = config as { bias?: string }
  if (bias === 'all') for (const path of slots.keys()) if (path.includes('bias')) take(path)
  // Only the base layer's own bias: PEFT's "lora_only", "vera_only".
  if (bias?.endsWith('_only')) for (const target of targets) take(`base_model.model.${target}.base_layer.bias`)
  const embeddings = (method.savesEmbeddings?.(config) ?? true) ? embeddingPaths(model, config) : []
  for (const path of embeddings) {
    for (const slot of slots.keys()) {
      if (slot.startsWith(`${path}.`) && !hasPart(slot, adapterName)) take(slot)
    }
  }
  for (const { path, module } of baseModules(model)) {
    if (!(module instanceof ModulesToSaveWrapper)) continue
    const copy = module.modules_to_save.get(adapterName)
    const key = method.basePath === undefined ? path : path.replace('base_model.model.', method.basePath)
    for (const [name, parameter] of copy?.parameterSlots() ?? []) result.set(`${key}.${name}`, parameter)
  }
  return result
}

/** The parameters that an adapter's training file holds, by their keys there; none for most methods. */
export function getTrainingState(model: PeftModel, adapterName: string): Map<string, Parameter> {
  const adapter = model.adapter(adapterName)
  return adapter.method.trainingFile?.stateDict(adapter, adapterSlots(model, adapterName).own) ?? new Map()
}

/** The places in the model that hold no other adapter's parameters, and the adapter's own parameters by key. */
function adapterSlots(model: PeftModel, adapterName: string) {
  const others = new Set(model.adapterNames().filter(name => name !== adapterName))
  const slots = new Map(canonicalSlots(model, '', { without: others }))
  const own = new Map<string, Parameter>()
  for (const [path, parameter] of slots) {
    if (hasPart(path, adapterName) && !hasPart(path, 'modules_to_save'))
      own.set(withoutAdapter(path, adapterName), parameter)
  }
  return { slots, own }
}

/** The embeddings that are saved whole because the adapter works on them. */
function embeddingPaths(model: PeftModel, { targetModules }: PeftConfig & TargetOptions): string[] {
  const isTargeted =
    typeof targetModules === 'string'
      ? EMBEDDING_NAMES.some(name => model.targetedModules().some(path => hasPart(path, name)))
      : EMBEDDING_NAMES.some(name => targetModules?.includes(name))
  if (!isTargeted) return []
  const targeted = new Set(model.targetedModules())
  const { embeddings } = model
  return embeddings.filter(path => targeted.has(path)).map(path => `base_model.model.${path}`)
}

/** What {@link setPeftModelStateDict} could not place. */
export interface LoadReport {
  /** Keys that the adapter has and the file lacks. */
  missing: string[]
  /** Keys of the file that the adapter has no place for. */
  unexpected: string[]
  /** What the method finds odd about the values. */
  remark?: string
}

/** Values for {@link setPeftModelStateDict}: a shape, and how to read them. */
export interface StateDictEntry {
  shape: readonly number[]
  read(): Promise<Float32Array>
}

/**
 * Gives an adapter the values in `entries`, whose keys are those of {@link getPeftModelStateDict} and of
 * {@link getTrainingState}.
 *
 * @throws when a tensor has another shape than its parameter; then nothing was changed
 */
export async function setPeftModelStateDict(
  given: PeftModel | Module,
  entries: ReadonlyMap<string, StateDictEntry>,
  adapterName = 'default',
): Promise<LoadReport> {
  const host = hostOf(given)
  const model = host ?? (given as PeftModel)
  if (host) {
    const keys = [...stateDictOf(host, adapterName).keys()]
    const full = new Map(keys.map(key => [withoutPrefix(key), key]))
    entries = new Map([...entries].map(([key, entry]) => [full.get(key) ?? key, entry]))
  }
  const adapter = model.adapter(adapterName)
  const { base } = adapter.model
  if (base instanceof PreTrainedModel) {
    entries = new Map([...entries].map(([key, entry]) => [base.currentName(key), entry]))
  }
  adapter.method.beforeLoad?.(adapter, new Map([...entries].map(([key, { shape }]) => [key, shape])))
  const own = new Map([...stateDictOf(model, adapterName), ...getTrainingState(model, adapterName)])
  const { values, ...report } = await assignTensors(own, entries)
  changedAlone(adapter.state)
  const remark = report.missing.length ? undefined : await adapter.method.afterLoad?.(adapter, values)
  if (adapter.method.beforeLoad || adapter.method.afterLoad) model.refreshTrained(adapterName)
  model.markPrepared(adapterName)
  return { ...report, ...(remark !== undefined && { remark }) }
}

const isSame = (a: Float32Array, b: Float32Array) => a.every((value, i) => value === b[i])

/**
 * Gives parameters the values of the entries with the same keys.
 *
 * @returns the values by key, and what could not be placed
 * @throws when a tensor has another shape than its parameter; then nothing was changed
 */
export async function assignTensors(
  own: ReadonlyMap<string, Parameter>,
  entries: ReadonlyMap<string, StateDictEntry>,
): Promise<LoadReport & { values: Map<string, Float32Array> }> {
  const values = new Map<Parameter, Float32Array>()
  const byKey = new Map<string, Float32Array>()
  for (const [key, parameter] of own) {
    const entry = entries.get(key)
    if (!entry) continue
    if (entry.shape.join() !== parameter.shape.join()) {
      throw new Error(
        `The adapter's tensor "${key}" has shape [${entry.shape}], the model expects [${parameter.shape}]; it was made for another base model or other options`,
      )
    }
    const data = await entry.read()
    // What files hold of the base beside the adapter is mostly what the base has: then both go on sharing it.
    if (!parameter.isSwitchable && parameter.hasValue && isSame(await parameter.read(), data)) {
      byKey.set(key, data)
      continue
    }
    // One parameter can stand under several keys: a head that is tied to its embedding.
    if (values.get(parameter)?.some((value, i) => value !== data[i])) {
      throw new Error(
        `The adapter's tensor "${key}" is tied to another one of the file, and their values differ; it was saved from a model whose weights are not tied`,
      )
    }
    values.set(parameter, data)
    byKey.set(key, data)
  }
  for (const [parameter, data] of values) parameter.data = data.slice()
  return {
    values: byKey,
    missing: [...own.keys()].filter(key => !entries.has(key)),
    unexpected: [...entries.keys()].filter(key => !own.has(key)),
  }
}
