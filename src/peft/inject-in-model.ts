/** @file Adapters in a module tree as it is: no wrapper around it, its own class and its own names. */
import type { Module } from '../nn/index.ts'
import { hostOf, registerHost } from './hosts.ts'
import { getPeftMethod } from './method.ts'
import { type AnyPeftConfig, type GetPeftModelOptions, PeftModel } from './model.ts'

/**
 * Puts an adapter into a model in place: target modules become layers with adapters, all else stays frozen as it is.
 * The model keeps its class and its `forward`; names of parameters are its own (`layer.0.query.lora_A.default.weight`).
 * {@link adaptersOf} switches, merges and saves.
 *
 * @returns the model that was given
 * @throws for methods that change what enters the model, which a plain tree has no place for
 * @example
 * injectAdapterInModel(new LoraConfig({ targetModules: ['query'] }), model)
 */
export function injectAdapterInModel<M extends Module>(
  config: AnyPeftConfig,
  model: M,
  adapterName = 'default',
  options: Omit<GetPeftModelOptions, 'adapterName'> = {},
): M {
  const method = getPeftMethod(config.peftType)
  if (method.enter) {
    throw new Error(
      `injectAdapterInModel: ${method.about.title} changes what enters the model, which only a PeftModel can do; use getPeftModel`,
    )
  }
  const host = hostOf(model) ?? new PeftModel(model, { inPlace: true })
  host.addAdapter(adapterName, config, options)
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
  if (host) return host as PeftModel<M>
  throw new Error(`${model.constructor.name} carries no adapters; put one into it with injectAdapterInModel`)
}
