/** @file LayerNorm tuning's layer: a trained copy in the place of a module (arXiv 2312.11420). */
import { add, type Tensor } from '../../../graph/index.ts'
import { type Module, ModuleDict } from '../../../nn/index.ts'
import { TunerLayer } from '../../tuner-layer.ts'

/** A module of which each adapter has a copy of its own. */
export class LNTuningLayer extends TunerLayer {
  ln_tuning_layers = new ModuleDict()

  /** Gives an adapter its copy, with the values that the module has. */
  addAdapter(name: string): void {
    this.ln_tuning_layers.set(name, this.trainedCopy())
  }

  /** A copy of the module that trains. */
  protected trainedCopy(): Module {
    const copy = this.original.clone()
    for (const parameter of copy.parameters()) parameter.requiresGrad = true
    return copy
  }

  override adapterNames(): string[] {
    return this.ln_tuning_layers.keys()
  }

  override deleteAdapter(name: string): void {
    this.ln_tuning_layers.delete(name)
  }

  protected override adapt(adapters: readonly string[], ...inputs: unknown[]): unknown {
    return this.chosen(adapters).forward(...inputs)
  }

  override mergedParameters(adapters: readonly string[]): Record<string, Tensor> {
    const own = this.chosen(adapters.filter(name => this.ln_tuning_layers.has(name)))
    // Adding zero makes a value of what may be a constant: an output must be computed.
    return own === this.original
      ? {}
      : Object.fromEntries(own.ownParameters().map(([name, parameter]) => [name, add(parameter, 0)]))
  }

  /** The module that computes: the copy of the one adapter, or the module itself. Two copies cannot both compute. */
  protected chosen(adapters: readonly string[]): Module {
    if (adapters.length > 1) {
      throw new Error(
        `LN_TUNING: the adapters ${adapters.join(', ')} are active together, but only one copy can compute`,
      )
    }
    return (adapters.length ? this.ln_tuning_layers.get(adapters[0]) : undefined) ?? this.original
  }
}
