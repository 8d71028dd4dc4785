/** @file A layer with adapters: what stands in the place of a target module. */
import { equal, graphOf, type Tensor, unsqueeze, where } from '../graph/index.ts'
import { Module, type Parameter } from '../nn/index.ts'
import type { Composition } from './composition.ts'

/** Which adapter computes each row of a batch. */
export interface AdapterRows {
  /** int64 `[batch]`: 0 is the base model, i the adapter `names[i - 1]`. */
  index: Tensor
  names: readonly string[]
}

/** Which adapters of a model are active. One object serves all its layers, so switching costs nothing. */
export interface AdapterState {
  active: readonly string[]
  disabled: boolean
  /** How the active adapters work together; undefined when their effects are simply added. */
  composition?: Composition
  /** Set while a forward pass is traced in which each row has an adapter of its own. */
  rows?: AdapterRows
}

/**
 * A module wrapped by a method. Subclasses hold the adapters' parameters in properties named as PEFT names them, each a
 * dictionary by adapter name (`lora_A.default.weight`), and say what their adapters compute.
 */
export abstract class TunerLayer<M extends Module = Module> extends Module {
  /** The module that was wrapped. */
  base_layer: M
  readonly adapterState: AdapterState
  /** The adapters that are merged into the wrapped module's parameters now. */
  mergedAdapters: readonly string[] = []

  constructor(base: M, state: AdapterState) {
    super()
    this.base_layer = base
    this.adapterState = state
  }

  /** The module under all wrappers: other methods may have wrapped it too. */
  get original(): M {
    let module: Module = this.base_layer
    while (module instanceof TunerLayer) module = module.base_layer
    return module as M
  }

  /** The adapters that this layer has. */
  abstract adapterNames(): string[]

  /** Removes an adapter. */
  abstract deleteAdapter(name: string): void

  /** The computation with these adapters of the layer, of which there is at least one. */
  protected abstract adapt(adapters: readonly string[], ...inputs: unknown[]): unknown

  /**
   * The parameters of the wrapped module with adapters merged into them, by name; those that stay as they are are left
   * out. Traced like `forward`.
   *
   * @throws for methods whose effect is not a change of parameters
   */
  mergedParameters(_adapters: readonly string[]): Record<string, Tensor> {
    throw new Error(
      `${this.constructor.name} cannot be merged: its effect is not a change of the layer's parameters. Keep the adapter, or convert what it learnt with a method that can be merged.`,
    )
  }

  override forward(...inputs: unknown[]): unknown {
    const { rows, disabled } = this.adapterState
    if (rows && !disabled && this.mergedAdapters.length === 0) {
      const own = new Set(this.adapterNames())
      return rows.names.some(name => own.has(name))
        ? this.adaptRows(rows, ...inputs)
        : this.base_layer.forward(...inputs)
    }
    const active = this.activeAdapters()
    return active.length ? this.adapt(active, ...inputs) : this.base_layer.forward(...inputs)
  }

  /**
   * The computation in which each row of the batch has an adapter of its own. By default every adapter computes all
   * rows and the right one is chosen; methods that can do it in one go override this.
   */
  protected adaptRows({ index, names }: AdapterRows, ...inputs: unknown[]): unknown {
    const own = new Set(this.adapterNames())
    let result = this.base_layer.forward(...inputs)
    for (const [i, name] of names.entries()) {
      if (!own.has(name)) continue
      result = chooseRows(index, i + 1, this.adapt([name], ...inputs), result)
    }
    return result
  }

  /** The adapters that take part in the computation now. */
  activeAdapters(): string[] {
    const { active, disabled } = this.adapterState
    if (disabled || this.mergedAdapters.length) return []
    const own = new Set(this.adapterNames())
    return active.filter(name => own.has(name))
  }
}

/** `chosen` in the rows whose index is `row`, elsewhere `others`; both are tensors whose first axis is the batch. */
export function chooseRows(index: Tensor, row: number, chosen: unknown, others: unknown): unknown {
  const [a, b] = [chosen, others] as Tensor[]
  if (!('rank' in a && 'rank' in b)) {
    throw new Error('Rows with adapters of their own need layers that give one tensor; this one gives something else')
  }
  const axes = Array.from({ length: a.rank - 1 }, (_, i) => i + 1)
  const isRow = equal(index, index.graph.constant(row, 'int64'))
  return where(axes.length ? unsqueeze(isRow, axes) : isRow, a, b)
}

/**
 * A layer whose adapters change parameters of the wrapped module, of whatever kind it is: subclasses only say what the
 * parameters become, and the wrapped module computes with them.
 */
export abstract class ParameterTunerLayer<M extends Module = Module> extends TunerLayer<M> {
  abstract override mergedParameters(adapters: readonly string[]): Record<string, Tensor>

  protected override adapt(adapters: readonly string[], ...inputs: unknown[]): unknown {
    const { base_layer } = this
    const graph = graphOf(inputs.filter(isOperand))
    const changed = Object.entries(graph.trace(() => this.mergedParameters(adapters)))
    const slots = this.original as unknown as Record<string, Parameter>
    const bindings = changed.map(([name, tensor]) => [slots[name], tensor] as const)
    return graph.rebind(bindings, () => base_layer.forward(...inputs))
  }
}

const isOperand = (input: unknown): input is Tensor =>
  typeof input === 'object' && input !== null && 'node' in input && 'dtype' in input

/** The layer of class `type` among the wrappers that `module` consists of, if another adapter has put one there. */
export function tunerAt<T extends TunerLayer>(
  module: Module,
  type: abstract new (...parts: never[]) => T,
): T | undefined {
  let layer: Module = module
  while (layer instanceof TunerLayer) {
    if (layer instanceof type) return layer
    layer = layer.base_layer
  }
  return undefined
}

/** The module under all wrappers of `module`. */
export function originalOf(module: Module): Module {
  return module instanceof TunerLayer ? module.original : module
}
