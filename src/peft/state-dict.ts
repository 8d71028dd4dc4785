/** @file The saved form of an adapter: which parameters belong to it, under which keys. */
import type { Parameter } from '../nn/index.ts'
import { baseModules, canonicalSlots } from './adapted-tree.ts'
import type { PeftConfig } from './config.ts'
import type { TargetOptions } from './method.ts'
import type { PeftModel } from './model.ts'
import { ModulesToSaveWrapper } from './modules-to-save.ts'

/** Names of embeddings, whose weights are saved with an adapter that targets them. */
const EMBEDDING_NAMES = ['embed_tokens', 'lm_head']

/** A key without the adapter's name, which is arbitrary. */
const withoutAdapter = (key: string, adapter: string) =>
  key.replaceAll(`.${adapter}.`, '.').replace(new RegExp(`\\.${escapeExpression(adapter)}$`), '')

const escapeExpression = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

/** Whether a path contains a name as one of its parts. */
const hasPart = (path: string, part: string) => path.split('.').includes(part)

/**
 * The parameters of an adapter under the keys of `adapter_model.safetensors`, as PEFT's `get_peft_model_state_dict`
 * gives them: without the adapter's name.
 */
export function getPeftModelStateDict(model: PeftModel, adapterName = 'default'): Map<string, Parameter> {
  const adapter = model.adapter(adapterName)
  const { config, method, targets } = adapter
  const others = model.adapterNames().filter(name => name !== adapterName)
  const slots = new Map([...canonicalSlots(model)].filter(([path]) => !others.some(other => hasPart(path, other))))
  const own = new Map<string, Parameter>()
  for (const [path, parameter] of slots) {
    if (hasPart(path, adapterName) && !hasPart(path, 'modules_to_save'))
      own.set(withoutAdapter(path, adapterName), parameter)
  }
  const result = method.stateDict?.(adapter, own) ?? own
  const take = (path: string) => {
    const parameter = slots.get(path)
    if (parameter) result.set(withoutAdapter(path, adapterName), parameter)
  }
  const { bias } = config as { bias?: string }
  if (bias === 'all') for (const path of slots.keys()) if (path.includes('bias')) take(path)
  // Only the base layer's own bias: PEFT's "lora_only".
  if (bias === 'lora_only') for (const target of targets) take(`base_model.model.${target}.base_layer.bias`)
  for (const path of embeddingPaths(model, config)) {
    for (const slot of slots.keys()) {
      if (slot.startsWith(`${path}.`) && !hasPart(slot, adapterName)) take(slot)
    }
  }
  for (const { path, module } of baseModules(model)) {
    if (!(module instanceof ModulesToSaveWrapper)) continue
    const copy = module.modules_to_save.get(adapterName)
    for (const [name, parameter] of copy?.parameterSlots() ?? []) result.set(`${path}.${name}`, parameter)
  }
  return result
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
}

/** Values for {@link setPeftModelStateDict}: a shape, and how to read them. */
export interface StateDictEntry {
  shape: readonly number[]
  read(): Promise<Float32Array>
}

/**
 * Gives an adapter the values in `entries`, whose keys are those of {@link getPeftModelStateDict}.
 *
 * @throws when a tensor has another shape than its parameter; then nothing was changed
 */
export async function setPeftModelStateDict(
  model: PeftModel,
  entries: ReadonlyMap<string, StateDictEntry>,
  adapterName = 'default',
): Promise<LoadReport> {
  const adapter = model.adapter(adapterName)
  adapter.method.beforeLoad?.(adapter, new Map([...entries].map(([key, { shape }]) => [key, shape])))
  const own = getPeftModelStateDict(model, adapterName)
  const values = new Map<Parameter, Float32Array>()
  for (const [key, parameter] of own) {
    const entry = entries.get(key)
    if (!entry) continue
    if (entry.shape.join() !== parameter.shape.join()) {
      throw new Error(
        `The adapter's tensor "${key}" has shape [${entry.shape}], the model expects [${parameter.shape}]; it was made for another base model or other options`,
      )
    }
    values.set(parameter, await entry.read())
  }
  for (const [parameter, data] of values) parameter.data = data.slice()
  return {
    missing: [...own.keys()].filter(key => !entries.has(key)),
    unexpected: [...entries.keys()].filter(key => !own.has(key)),
  }
}
