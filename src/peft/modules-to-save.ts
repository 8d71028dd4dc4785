/** @file Modules that are trained as a whole and saved with the adapter: a new head, an embedding. */
import { Module, ModuleDict } from '../nn/index.ts'
import { type AdapterState, chooseRows } from './tuner-layer.ts'

/** Stands in the place of a module of which each adapter has a trained copy. */
export class ModulesToSaveWrapper extends Module {
  original_module: Module
  modules_to_save = new ModuleDict()
  readonly adapterState: AdapterState

  constructor(original: Module, state: AdapterState) {
    super()
    this.original_module = original
    this.adapterState = state
  }

  /** Gives an adapter its copy, with the values that the original has. */
  addAdapter(name: string): void {
    const copy = this.original_module.clone()
    for (const [, parameter] of copy.namedParameters()) parameter.requiresGrad = true
    this.modules_to_save.set(name, copy)
  }

  /** The adapters that have a copy. */
  adapterNames(): string[] {
    return this.modules_to_save.keys()
  }

  /** Removes an adapter's copy. */
  deleteAdapter(name: string): void {
    this.modules_to_save.delete(name)
  }

  /** The module that computes now. */
  get current(): Module {
    const { active, disabled } = this.adapterState
    return this.chosen(disabled ? [] : active)
  }

  /** The module that computes with these adapters active: the copy of the first that has one, else the original. */
  chosen(adapters: readonly string[]): Module {
    const name = adapters.find(adapter => this.modules_to_save.has(adapter))
    return (name === undefined ? undefined : this.modules_to_save.get(name)) ?? this.original_module
  }

  forward(...inputs: unknown[]): unknown {
    const { rows, disabled } = this.adapterState
    if (!rows || disabled) return this.current.forward(...inputs)
    let result = this.original_module.forward(...inputs)
    for (const [i, name] of rows.names.entries()) {
      const own = this.modules_to_save.get(name)
      if (own) result = chooseRows(rows.index, i + 1, own.forward(...inputs), result)
    }
    return result
  }
}
