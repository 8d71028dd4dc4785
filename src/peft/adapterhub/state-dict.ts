/** @file The parameters of an adapter under the keys of AdapterHub's files. */
import type { Parameter } from '../../nn/index.ts'
import { baseModules, canonicalSlots } from '../adapted-tree.ts'
import type { PeftModel } from '../model.ts'
import { ModulesToSaveWrapper } from '../modules-to-save.ts'
import { hubMethod } from './methods.ts'
import { hubName } from './places.ts'

/**
 * The parameters of an adapter under AdapterHub's names, in which the adapter's own name stands.
 *
 * @param fileName the name that the adapter has in the file; its own by default
 */
export function hubStateDict(model: PeftModel, adapterName: string, fileName = adapterName): Map<string, Parameter> {
  const adapter = model.adapter(adapterName)
  const others = new Set(model.adapterNames().filter(name => name !== adapterName))
  const own = new Map<string, Parameter>()
  for (const [path, parameter] of canonicalSlots(model, '', { without: others })) {
    const parts = path.split('.')
    // A parameter may be called as an adapter.
    const name = parts.pop()!
    if (!parts.includes(adapterName) || parts.includes('modules_to_save')) continue
    const named = [...parts.map(part => (part === adapterName ? fileName : part)), name].join('.')
    own.set(hubName(named, adapter.model), parameter)
  }
  return hubMethod(adapter.config.peftType).keys?.(adapter, own) ?? own
}

/** The parameters of the modules that are saved with an adapter, its prediction head, under their names in the model. */
export function hubHeadStateDict(model: PeftModel, adapterName: string): Map<string, Parameter> {
  const head = new Map<string, Parameter>()
  for (const { path, module } of baseModules(model.model)) {
    if (!(module instanceof ModulesToSaveWrapper)) continue
    const copy = module.modules_to_save.get(adapterName)
    for (const [name, parameter] of copy?.parameterSlots() ?? []) head.set(`${path}.${name}`, parameter)
  }
  return head
}
