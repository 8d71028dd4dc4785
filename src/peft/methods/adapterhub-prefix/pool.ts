/** @file The prefixes of an adapter: keys and values of all layers of a group, trained as they are or made by a network. */
import { dropout, graphOf, reshape, slice, type Tensor, transpose } from '../../../graph/index.ts'
import { Embedding, type KeyValues, Linear, Module, ModuleDict, normalInit, Parameter } from '../../../nn/index.ts'
import { hubActivation } from '../../adapterhub/activations.ts'
import type { AdapterHubPrefixConfig } from './config.ts'
import type { PrefixGroup } from './places.ts'

/** The number of values of a group's keys and values. */
export const keyValueWidth = ({ paths, heads, width }: PrefixGroup) => paths.length * 2 * heads * width

/** The prefixes of one group of layers, with AdapterHub's names of parameters. */
export class Prefixes extends Module {
  readonly config: AdapterHubPrefixConfig
  readonly group: PrefixGroup
  readonly hiddenSize: number
  /** What the network makes keys and values of, `[length, hidden]`. */
  wte: Embedding | undefined
  /** Dense layers `0` and `2`, or all keys and values in one vector, by position, layer, head and channel. */
  declare control_trans: ModuleDict<Linear> | Parameter

  constructor(config: AdapterHubPrefixConfig, group: PrefixGroup, hiddenSize: number) {
    super()
    this.config = config
    this.group = group
    this.hiddenSize = hiddenSize
    this.become(config.flat)
  }

  /** Makes it one vector, or a table with a network over it, of which nothing has values. */
  become(flat: boolean): void {
    const { prefixLength, bottleneckSize } = this.config
    const width = keyValueWidth(this.group)
    this.wte = flat ? undefined : new Embedding(prefixLength, this.hiddenSize)
    this.control_trans = flat
      ? new Parameter([prefixLength * width], { init: normalInit(1) })
      : new ModuleDict({ 0: new Linear(this.hiddenSize, bottleneckSize), 2: new Linear(bottleneckSize, width) })
  }

  /** All keys and values in one vector. Throws where a network makes them. */
  get flat(): Parameter {
    if (this.control_trans instanceof Parameter) return this.control_trans
    throw new Error('These prefixes are made by a network; there is no vector of them')
  }

  /** The keys and values of all layers before they are cut, `[length, layers 2 heads width]`. */
  table(): Tensor {
    const { config, control_trans } = this
    if (control_trans instanceof Parameter) return reshape(control_trans, [config.prefixLength, -1])
    const inner = control_trans.get('0')!.forward(this.wte!.weight.trace(graphOf([])))
    return control_trans.get('2')!.forward(hubActivation(config.nonLinearity)(inner))
  }

  /** The keys and values of the layer that is `index`th in the group, `[1, heads, length, width]`. */
  override forward(index: number): KeyValues {
    const { paths, heads, width } = this.group
    const length = this.config.prefixLength
    const parts = transpose(reshape(this.table(), [length, 2 * paths.length, heads, width]), [1, 2, 0, 3])
    const part = (i: number) => dropout(slice(parts, 0, i, i + 1), this.config.dropout)
    return { key: part(2 * index), value: part(2 * index + 1) }
  }
}

/** The prefixes of an adapter by the names of their groups. */
export class PrefixPool extends ModuleDict<Prefixes> {
  constructor(config: AdapterHubPrefixConfig, groups: ReadonlyMap<string, PrefixGroup>, hiddenSize: number) {
    super()
    for (const [name, group] of groups) this.set(name, new Prefixes(config, group, hiddenSize))
  }

  /** The prefixes of all groups, by name. */
  prefixes(): [string, Prefixes][] {
    return this.children() as [string, Prefixes][]
  }
}
