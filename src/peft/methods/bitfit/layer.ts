/** @file BitFit's layer: a module with a bias of its own for each adapter (arXiv 2106.10199). */
import { add, sub, type Tensor } from '../../../graph/index.ts'
import { type Module, Parameter, ParameterDict } from '../../../nn/index.ts'
import { ParameterTunerLayer } from '../../tuner-layer.ts'
import { biasOf } from './targets.ts'

/** Any module with a bias; each adapter has its own in the place of it. */
export class BitFitLayer extends ParameterTunerLayer<Module> {
  /** The trained biases, of the bias's shape. */
  bitfit_bias = new ParameterDict()

  /** Gives an adapter its bias, with the values that the module's has. */
  addAdapter(name: string): void {
    const bias = biasOf(this.original)!
    const own = bias.isLoaded
      ? Parameter.from(bias.data.slice(), bias.shape)
      : Parameter.computed(bias.shape, async () => (await bias.read()).slice())
    this.bitfit_bias.set(name, own)
  }

  override adapterNames(): string[] {
    return this.bitfit_bias.keys()
  }

  override deleteAdapter(name: string): void {
    this.bitfit_bias.delete(name)
  }

  /** The bias of the first adapter; of further ones what they changed is added. */
  override mergedParameters(adapters: readonly string[]): Record<string, Tensor> {
    const [first, ...others] = adapters.flatMap(name => this.bitfit_bias.get(name) ?? [])
    if (!first) return {}
    const base = biasOf(this.original)!
    // Adding zero makes a value of what may be a constant: an output must be computed.
    return { bias: others.reduce((sum, own) => add(sum, sub(own, base)), add(first, 0)) }
  }
}
