/** @file A module of which each adapter trains some entries of its parameters, or all. */
import {
  add,
  gather,
  graphOf,
  reshape,
  scatterAddElements,
  scatterElements,
  sub,
  type Tensor,
} from '../../graph/index.ts'
import { type Module, ModuleDict, Parameter, ParameterDict, zerosInit } from '../../nn/index.ts'
import { ParameterTunerLayer } from '../tuner-layer.ts'

/** Any module; the trained entries take the place of the module's own. */
export class SparseLayer extends ParameterTunerLayer<Module> {
  /** The trained values for each adapter and parameter, `[count]`, or of the parameter's shape where all are trained. */
  sparse_values = new ModuleDict<ParameterDict>()
  /** Where they stand, `[axes, count]`, one row for each axis as in torch's sparse tensors; none where all are trained. */
  sparse_indices = new ModuleDict<ParameterDict>()
  /** What messages call the method of each adapter. */
  readonly methods: Record<string, string> = {}
  /** The adapters that know which entries they train. */
  readonly ready: Record<string, boolean> = {}

  /** Adds an adapter that trains nothing yet. */
  addAdapter(name: string, method: string): void {
    this.methods[name] = method
    this.ready[name] = false
    this.sparse_values.set(name, new ParameterDict())
    this.sparse_indices.set(name, new ParameterDict())
  }

  override adapterNames(): string[] {
    return Object.keys(this.methods)
  }

  override deleteAdapter(name: string): void {
    delete this.methods[name]
    delete this.ready[name]
    this.sparse_values.delete(name)
    this.sparse_indices.delete(name)
  }

  /** The module's parameter of a name. */
  parameter(slot: string): Parameter {
    return (this.original as unknown as Record<string, Parameter>)[slot]
  }

  /** Whether an adapter trains all entries of a parameter. */
  trainsAll(name: string, slot: string): boolean {
    const hasValues = this.sparse_values.get(name)!.get(slot) !== undefined
    return hasValues && this.sparse_indices.get(name)!.get(slot) === undefined
  }

  /** Lets an adapter train these entries of a parameter; none where there are no values. */
  place(name: string, slot: string, entries: SparseEntries | undefined): void {
    const [values, indices] = [this.sparse_values.get(name)!, this.sparse_indices.get(name)!]
    values.delete(slot)
    indices.delete(slot)
    if (entries) values.set(slot, entries.values)
    if (entries?.indices) indices.set(slot, entries.indices)
  }

  protected override adapt(adapters: readonly string[], ...inputs: unknown[]): unknown {
    const waiting = adapters.find(name => !this.ready[name])
    if (waiting !== undefined && graphOf(inputs.filter(isOperand)).training) {
      throw new Error(
        `${this.methods[waiting]}: the adapter "${waiting}" cannot train yet: which weights it trains follows from data. The Trainer prepares it by itself; in a loop of one's own, call await prepareAdapters(peft, batches) first`,
      )
    }
    return super.adapt(adapters, ...inputs)
  }

  /** The entries of the first adapter take the place of the module's; what further ones changed is added. */
  override mergedParameters(adapters: readonly string[]): Record<string, Tensor> {
    const merged: Record<string, Tensor> = {}
    for (const name of adapters) {
      if (!this.ready[name]) continue
      for (const [slot, values] of this.sparse_values.get(name)!.ownParameters()) {
        const indices = this.sparse_indices.get(name)!.get(slot)
        merged[slot] = indices
          ? this.scatter(merged[slot], slot, { values, indices })
          : this.replace(merged[slot], slot, values)
      }
    }
    return merged
  }

  private replace(before: Tensor | undefined, slot: string, values: Parameter): Tensor {
    // Adding zero makes a value of what may be a constant: an output must be computed.
    return before ? add(before, sub(values, this.parameter(slot))) : add(values, 0)
  }

  private scatter(before: Tensor | undefined, slot: string, entries: Required<SparseEntries>): Tensor {
    const original = this.parameter(slot)
    const values = reshape(entries.values, entries.values.shape)
    const at = values.graph.constant(flatIndices(entries.indices, original.shape), 'int64')
    const base = reshape(original, [-1])
    const flat = before
      ? scatterAddElements(reshape(before, [-1]), at, sub(values, gather(base, at)), 0)
      : scatterElements(base, at, values, 0)
    return reshape(flat, original.shape)
  }
}

const isOperand = (input: unknown): input is Tensor =>
  typeof input === 'object' && input !== null && 'node' in input && 'dtype' in input

/** What an adapter trains of a parameter. */
export interface SparseEntries {
  values: Parameter
  indices?: Parameter
}

/** Entries whose values and places are still to come, from a file or a preparation; they take no memory. */
export function reservedEntries(count: number, shape: readonly number[]): Required<SparseEntries> | undefined {
  if (count === 0) return undefined
  const axes = Math.max(shape.length, 1)
  return {
    values: new Parameter([count], { init: zerosInit }),
    indices: new Parameter([axes, count], { init: zerosInit, isBuffer: true, isIndex: true }),
  }
}

/** Entries with the values that a parameter has there. */
export function chosenEntries(
  at: Uint32Array,
  base: Float32Array,
  shape: readonly number[],
): SparseEntries | undefined {
  const entries = reservedEntries(at.length, shape)
  if (!entries) return undefined
  const coordinates = new Float32Array(entries.indices.size)
  at.forEach((position, i) => {
    let rest = position
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      coordinates[axis * at.length + i] = rest % shape[axis]
      rest = Math.floor(rest / shape[axis])
    }
  })
  entries.values.data = Float32Array.from(at, position => base[position])
  entries.indices.data = coordinates
  return entries
}

/** All entries of a parameter, with its values. */
export function allEntries(parameter: Parameter): SparseEntries {
  return { values: Parameter.computed(parameter.shape, async () => (await parameter.read()).slice()) }
}

/** Positions in the row-major array of a parameter from the coordinates along its axes. */
export function flatIndices({ data, shape: [axes, count] }: Parameter, shape: readonly number[]): number[] {
  return Array.from({ length: count }, (_, i) => {
    let position = 0
    for (let axis = 0; axis < axes; axis++) position = position * (shape[axis] ?? 1) + data[axis * count + i]
    return position
  })
}
