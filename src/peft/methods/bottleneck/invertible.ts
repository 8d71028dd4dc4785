/** @file Invertible adapters after the embeddings (MAD-X, arXiv 2005.00052; NICE, arXiv 1410.8516). */
import { add, concat, slice, sub, type Tensor } from '../../../graph/index.ts'
import { type Activation, Linear, Module, ModuleDict, zerosInit } from '../../../nn/index.ts'
import { hubActivation } from '../../adapterhub/activations.ts'
import { TunerLayer } from '../../tuner-layer.ts'
import type { BnConfig } from './config.ts'
import { BERT_INIT } from './init.ts'

/** Where the invertible adapters stand on a PeftModel. */
export const INVERTIBLE_ADAPTERS = 'base_model.invertible_adapters'

/** A dense layer, an activation and a dense layer, under PyTorch's names of a sequence. */
class Coupling extends ModuleDict<Linear> {
  readonly activation: Activation

  constructor(width: number, inner: number, activation: Activation) {
    const create = (from: number, to: number) => new Linear(from, to, { init: BERT_INIT, biasInit: zerosInit })
    super({ 0: create(width, inner), 2: create(inner, width) })
    this.activation = activation
  }

  /** The shift of one half by the other. */
  shift(x: Tensor): Tensor {
    return this.get('2')!.forward(this.activation(this.get('0')!.forward(x)))
  }
}

/** How wide half of the hidden state is, and the layers that work on it. */
export function invertibleWidths({ invAdapterReductionFactor }: BnConfig, width: number) {
  const half = width / 2
  return { half, inner: Math.floor(half / invAdapterReductionFactor!) }
}

/** Two halves, each shifted by what a network makes of the other; it can be undone exactly. */
export class InvertibleAdapter extends Module {
  readonly half: number
  F: Coupling
  G: Coupling

  /** @throws when the width cannot be halved */
  constructor(config: BnConfig, width: number) {
    super()
    if (width % 2) throw new Error(`BnConfig: an invertible adapter halves the hidden state, which is ${width} wide`)
    const { half, inner } = invertibleWidths(config, width)
    if (inner < 1) {
      throw new Error(
        `BnConfig: invAdapterReductionFactor ${config.invAdapterReductionFactor} leaves nothing of the ${half} values of half a hidden state`,
      )
    }
    this.half = half
    const activation = hubActivation(config.nonLinearity)
    this.F = new Coupling(half, inner, activation)
    this.G = new Coupling(half, inner, activation)
  }

  private halves(x: Tensor): [Tensor, Tensor] {
    const axis = x.rank - 1
    return [slice(x, axis, 0, this.half), slice(x, axis, this.half)]
  }

  /** @param x `[..., hidden]` @returns the same shape */
  forward(x: Tensor): Tensor {
    const [first, second] = this.halves(x)
    const y = add(first, this.F.shift(second))
    return concat([y, add(second, this.G.shift(y))], x.rank - 1)
  }

  /** Undoes {@link forward}. */
  inverse(y: Tensor): Tensor {
    const [first, second] = this.halves(y)
    const x = sub(second, this.G.shift(first))
    return concat([sub(first, this.F.shift(x)), x], y.rank - 1)
  }
}

/** What the two places have in common: of several active adapters only the first can bring an invertible one. */
abstract class InvertiblePlace extends TunerLayer {
  invertible_adapters = new ModuleDict<InvertibleAdapter>()

  override adapterNames(): string[] {
    return this.invertible_adapters.keys()
  }

  override deleteAdapter(name: string): void {
    this.invertible_adapters.delete(name)
  }

  override activeAdapters(): string[] {
    const [first] = this.adapterState.active
    return super.activeAdapters().filter(name => name === first)
  }
}

/** Stands in the place of the module that gives the embedded sequence. */
export class InvertibleLayer extends InvertiblePlace {
  protected override adapt([name]: readonly string[], ...inputs: unknown[]): Tensor {
    return this.invertible_adapters.get(name)!.forward(this.base_layer.forward(...inputs) as Tensor)
  }
}

/** Stands in the place of the output layer, before which the embeddings' change is undone. */
export class InverseLayer extends InvertiblePlace {
  protected override adapt([name]: readonly string[], x: Tensor): Tensor {
    return this.base_layer.forward(this.invertible_adapters.get(name)!.inverse(x)) as Tensor
  }
}
