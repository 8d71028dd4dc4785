/** @file A layer with adapters: what stands in the place of a target module. */
import { equal, graphOf, type Tensor, unsqueeze, where } from '../graph/index.ts'
import { Module, type Parameter } from '../nn/index.ts'
import { type Composition, prune } from './composition.ts'

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
  /** The layers of the model that compute without adapters (AdapterDrop, arXiv 2010.11918); none by default. */
  skipLayers?: readonly number[]
  /** Set while a forward pass is traced in which each row has an adapter of its own. */
  rows?: AdapterRows
  /** Counts what changes the computation beside the above: adapters come and go, scales, merging. See {@link changed}. */
  version?: number
  /** Counts those of these changes that concern more than the values and factors of one adapter. */
  structure?: number
}

/** Says that the adapters of a model changed in a way that its state does not show: what was traced is traced again. */
export function changed(state: AdapterState): void {
  changedAlone(state)
  state.structure = (state.structure ?? 0) + 1
}

/** As {@link changed}, where other adapters go on as before: their traces are still good. */
export function changedAlone(state: AdapterState): void {
  state.version = (state.version ?? 0) + 1
}

/**
 * A module wrapped by a method. Subclasses hold the adapters' parameters in properties named as PEFT names them, each a
 * dictionary by adapter name (`lora_A.default.weight`), and say what their adapters compute.
 */
export abstract class TunerLayer<M extends Module = Module> extends Module {
  /** The module that was wrapped. */
  base_layer: M
  readonly adapterState: AdapterState
  /** The number of the model's layer that the module is a part of; undefined where it is in none. */
  layerIndex: number | undefined
  /** Whether keys show that layers of this kind lie in each other, one `base_layer` for each (PEFT's `ParamWrapper`). */
  readonly showsNesting: boolean = false
  /** The adapters that are merged into the wrapped module's parameters now. */
  mergedAdapters: readonly string[] = []
  /** The parameters that stood in the wrapped module before adapters were merged into it, by name. */
  unmerged: Readonly<Record<string, Parameter>> = {}

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

  /** What graphs read for an adapter beside its parameters in the tree: factors. */
  valuesBeside(_name: string): readonly Parameter[] {
    return []
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

  /**
   * Sets the scale of an adapter's effect, as a factor on what its options say; layers that do not have the adapter
   * ignore it.
   *
   * @throws for methods whose effect has no scale
   */
  setScale(name: string, _scale: number): void {
    if (!this.adapterNames().includes(name)) return
    throw new Error(
      `${this.constructor.name} has no scale: the effect of "${name}" is not a term with a factor. Scaling works with LoRA.`,
    )
  }

  override forward(...inputs: unknown[]): unknown {
    const { rows } = this.adapterState
    if (this.mergedAdapters.length && this.isOff()) return this.forwardUnmerged(inputs)
    if (rows && !this.isOff()) {
      const own = new Set(this.adapterNames())
      return rows.names.some(name => own.has(name))
        ? this.adaptRows(rows, ...inputs)
        : this.base_layer.forward(...inputs)
    }
    const active = this.activeAdapters()
    if (active.length === 0) return this.base_layer.forward(...inputs)
    const { composition } = this.adapterState
    const own = composition && prune(composition, name => active.includes(name))
    return own === undefined || typeof own === 'string'
      ? this.adapt(own === undefined ? active : [own], ...inputs)
      : this.adaptComposed(own, ...inputs)
  }

  /**
   * The computation with adapters that work together in blocks, all of which the layer has. By default adapters in a
   * stack act as those do that are active together, and other blocks are refused.
   */
  protected adaptComposed(composition: Composition, ...inputs: unknown[]): unknown {
    const { type, children } = composition
    const names = children.filter(child => typeof child === 'string')
    if (type === 'stack' && names.length === children.length) return this.adapt(names, ...inputs)
    throw new Error(
      `${this.constructor.name} has no ${type} of adapters; AdapterHub's methods have (bottleneck adapters, ADAPTERHUB_LORA, ADAPTERHUB_PREFIX)`,
    )
  }

  /** Computes with the parameters that stood in the wrapped module before merging. */
  private forwardUnmerged(inputs: unknown[]): unknown {
    const graph = graphOf(inputs.filter(isOperand))
    const slots = this.original as unknown as Record<string, Parameter>
    const bindings = Object.entries(this.unmerged).map(
      ([name, parameter]) => [slots[name], parameter.trace(graph)] as const,
    )
    return graph.rebind(bindings, () => this.base_layer.forward(...inputs))
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
    // What is merged is computed by the wrapped module; beside it nothing is active.
    if (this.mergedAdapters.length || this.isOff()) return []
    const own = new Set(this.adapterNames())
    return this.adapterState.active.filter(name => own.has(name))
  }

  /** Whether the module computes as if it had no adapters. */
  private isOff(): boolean {
    const { disabled, skipLayers } = this.adapterState
    if (disabled) return true
    return this.layerIndex !== undefined && (skipLayers?.includes(this.layerIndex) ?? false)
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
