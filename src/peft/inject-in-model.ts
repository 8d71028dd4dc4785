/** @file Adapters in a module tree as it is: no wrapper around it, its own class and its own names. */
import { type Module, Parameter } from '../nn/index.ts'
import { hostOf, registerHost } from './hosts.ts'
import { getPeftMethod } from './method.ts'
import { type AnyPeftConfig, type GetPeftModelOptions, type LoadAdapterOptions, PeftModel } from './model.ts'

/**
 * Puts an adapter into a model in place: target modules become layers with adapters, all else stays frozen as it is.
 * The model keeps its class and its `forward`; names of parameters are its own (`layer.0.query.lora_A.default.weight`).
 * {@link adaptersOf} switches, merges and saves.
 *
 * @returns the model that was given
 * @throws for methods that change what enters the model, or train something beside its modules: a plain tree has no
 *   place for them. When it fails, the model is as it was.
 * @example
 * injectAdapterInModel(new LoraConfig({ targetModules: ['query'] }), model)
 */
export function injectAdapterInModel<M extends Module>(
  config: AnyPeftConfig,
  model: M,
  adapterName = 'default',
  options: Omit<GetPeftModelOptions, 'adapterName'> = {},
): M {
  requireLayerMethod(config.peftType)
  const { host, undo } = openHost(model)
  try {
    host.addAdapter(adapterName, config, options)
    refuseTrainedBeside(host, adapterName)
  } catch (cause) {
    undo()
    throw cause
  }
  registerHost(model, host)
  return model
}

/** Loads an adapter into a model in place; see {@link injectAdapterInModel}. */
export async function loadAdapterInModel<M extends Module>(
  folderOrHubId: string,
  model: M,
  adapterName = 'default',
  options: LoadAdapterOptions = {},
): Promise<M> {
  const { loadPeftConfig } = await import('./load.ts')
  requireLayerMethod((await loadPeftConfig(folderOrHubId, options.revision)).peftType)
  const { host, undo } = openHost(model)
  try {
    await host.loadAdapter(folderOrHubId, adapterName, options)
    refuseTrainedBeside(host, adapterName)
  } catch (cause) {
    undo()
    throw cause
  }
  registerHost(model, host)
  return model
}

/**
 * What sees to the adapters that {@link injectAdapterInModel} has put into a model: `setAdapter`, `mergeAdapter`,
 * `deleteAdapter`, `savePretrained` and the like work on the model in place.
 *
 * @throws when there are none
 */
export function adaptersOf<M extends Module>(model: M): PeftModel<M> {
  const host = hostOf(model)
  if (host?.adapterNames().length) return host as PeftModel<M>
  throw new Error(
    `${model.constructor.name} carries no adapters; put one into it with injectAdapterInModel, addAdapter or loadAdapter`,
  )
}

function requireLayerMethod(peftType: string): void {
  const method = getPeftMethod(peftType)
  if (!method.enter) return
  throw new Error(
    `${method.about.title}: such adapters change what enters the model, which only a PeftModel can do; use getPeftModel, or PeftModel.fromPretrained`,
  )
}

/** The model that sees to the adapters of a tree, and what makes the tree as it was where its first adapter fails. */
function openHost(model: Module): { host: PeftModel; undo(): void } {
  const host = hostOf(model)
  if (host) return { host, undo() {} }
  const trained = model.parameters().filter(({ requiresGrad }) => requiresGrad)
  return {
    host: new PeftModel(model, { inPlace: true }),
    undo() {
      for (const parameter of trained) parameter.requiresGrad = true
      delete (model as { variant?: unknown }).variant
    },
  }
}

/** Who trains a plain tree enumerates its parameters: what is trained beside them would be left as it is. */
function refuseTrainedBeside(host: PeftModel, adapterName: string): void {
  const { method, shared, config } = host.adapter(adapterName)
  if (config.inferenceMode) return
  const trains = (value: Module | Parameter) =>
    (value instanceof Parameter ? [value] : value.parameters()).some(({ requiresGrad }) => requiresGrad)
  // Which of its parameters train shows only while it may.
  host.setRequiresGrad(adapterName)
  const found = Object.entries(shared).find(([, value]) => trains(value))
  host.setRequiresGrad(adapterName, host.adapterState.active.includes(adapterName))
  if (!found) return
  host.deleteAdapter(adapterName)
  throw new Error(
    `${method.about.title}: the adapter trains "${found[0]}" beside the modules of the model, which only a PeftModel has a place for; use getPeftModel`,
  )
}
