/** @file What every pretrained model offers for adapters, as Transformers has it: `model.addAdapter` and the like. */
import { type AdapterSupport, registerAdapterSupport } from '../models/adapters.ts'
import type { PreTrainedModel } from '../models/index.ts'
import { PeftConfig } from './config.ts'
import { hostOf } from './hosts.ts'
import { injectAdapterInModel, loadAdapterInModel } from './inject-in-model.ts'
import type { AnyPeftConfig, PeftModel } from './model.ts'
import { getPeftModelStateDict } from './state-dict.ts'

/** What sees to the adapters of a model. Throws, with the way out, when it carries none. */
function required(model: PreTrainedModel): PeftModel {
  const host = hostOf(model)
  if (host?.adapterNames().length) return host
  throw new Error(`${model.constructor.name} carries no adapters; put one into it with addAdapter or loadAdapter first`)
}

const support: AdapterSupport = {
  add(model, config, adapterName, options) {
    if (!(config instanceof PeftConfig)) {
      const got = typeof config === 'string' ? `"${config}"` : typeof config
      throw new TypeError(`addAdapter: expected a configuration such as new LoraConfig({ ... }), got ${got}`)
    }
    injectAdapterInModel(config as AnyPeftConfig, model, adapterName, options)
    required(model).setAdapter(adapterName)
  },

  async load(model, folderOrHubId, adapterName, options) {
    await loadAdapterInModel(folderOrHubId, model, adapterName, options)
    required(model).setAdapter(adapterName)
  },

  set(model, adapterNames) {
    required(model).setAdapter(adapterNames)
  },

  setEnabled(model, enabled) {
    required(model).adapterState.disabled = !enabled
  },

  active(model) {
    return [...required(model).adapterState.active]
  },

  delete(model, adapterNames) {
    const host = required(model)
    for (const name of adapterNames) host.configOf(name)
    for (const name of new Set(adapterNames)) host.deleteAdapter(name)
  },

  stateDict(model, adapterName) {
    const host = required(model)
    return getPeftModelStateDict(model, adapterName ?? theActive(host)[0])
  },

  isCarriedBy(model) {
    return (hostOf(model)?.adapterNames().length ?? 0) > 0
  },

  async save(model, folder) {
    const { saveActiveAdapters } = await import('./save.ts')
    const host = required(model)
    await saveActiveAdapters(host, theActive(host), folder)
  },
}

function theActive(host: PeftModel): readonly string[] {
  const { active } = host.adapterState
  if (active.length) return active
  throw new Error(`No adapter is active; choose one with setAdapter. Loaded: ${host.adapterNames().join(', ')}.`)
}

registerAdapterSupport(support)
