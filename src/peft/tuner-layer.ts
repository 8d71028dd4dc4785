/** @file A layer with adapters: what stands in the place of a target module. */
import type { Tensor } from '../graph/index.ts'
import { Module } from '../nn/index.ts'

/** Which adapters of a model are active. One object serves all its layers, so switching costs nothing. */
export interface AdapterState {
  active: readonly string[]
  disabled: boolean
}

/** A module wrapped by a method. Subclasses hold the adapters' parameters under the names that PEFT saves. */
export abstract class TunerLayer<M extends Module = Module> extends Module {
  /** The module that was wrapped. */
  base_layer: M
  readonly adapterState: AdapterState

  constructor(base: M, state: AdapterState) {
    super()
    this.base_layer = base
    this.adapterState = state
  }

  /** The adapters that this layer has. */
  abstract adapterNames(): string[]

  /** Removes an adapter. */
  abstract deleteAdapter(name: string): void

  /**
   * The parameters of the wrapped module with adapters merged into them, by name; those that stay as they are are left
   * out. Traced like `forward`.
   */
  abstract mergedParameters(adapters: readonly string[]): Record<string, Tensor>

  /** The adapters that take part in the computation now. */
  activeAdapters(): string[] {
    const { active, disabled } = this.adapterState
    const own = this.adapterNames()
    return disabled ? [] : active.filter(name => own.includes(name))
  }
}
