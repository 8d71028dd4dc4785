/** @file Plain module trees that carry adapters, and the models that see to them. */
import type { Module } from '../nn/index.ts'
import type { PeftModel } from './model.ts'

const hosts = new WeakMap<Module, PeftModel>()

/** Takes note of the model that sees to the adapters in `tree`. */
export function registerHost(tree: Module, host: PeftModel): void {
  hosts.set(tree, host)
}

/** The model that sees to the adapters of a plain tree; undefined where there are none. */
export function hostOf(tree: Module): PeftModel | undefined {
  return hosts.get(tree)
}
