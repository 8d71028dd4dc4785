/** @file Values of several adapters in one tensor, from which each row of a batch takes those of its own adapter. */
import { concat, type Graph, gather, reshape, type Tensor, unsqueeze } from '../../graph/index.ts'
import { type Parameter, ParameterStack } from '../../nn/index.ts'
import type { AdapterRows } from '../tuner-layer.ts'

/** The adapters of one layer that rows of a batch can have. */
export class RowStack {
  /** Those that the layer has, in the order in which they are stacked. */
  readonly names: readonly string[]
  /** For each row of the batch its place in a stack: int64 `[batch]`; 0 for rows without an adapter in this layer. */
  readonly index: Tensor

  /** @param own the adapters that the layer has */
  constructor(rows: AdapterRows, own: ReadonlySet<string>) {
    this.names = rows.names.filter(name => own.has(name))
    if (this.names.length === rows.names.length) {
      this.index = rows.index
      return
    }
    const places = [0, ...rows.names.map(name => this.names.indexOf(name) + 1)]
    this.index = gather(rows.index.graph.constant(places, 'int64'), rows.index)
  }

  /**
   * For each row the value of its adapter.
   *
   * @param base the value of rows that have none
   * @param valueFor the value of an adapter, of the shape of `base`
   * @returns `[batch, ...shape]`
   */
  pick(base: Tensor, valueFor: (name: string) => Tensor): Tensor {
    return gather(this.stack(base, valueFor), this.index)
  }

  /** The value of `base`, then that of each adapter: `[1 + adapters, ...shape]`. */
  stack(base: Tensor, valueFor: (name: string) => Tensor): Tensor {
    return concat(
      [base, ...this.names.map(valueFor)].map(value => unsqueeze(value, [0])),
      0,
    )
  }

  /**
   * For each row the parameter of its adapter, zeros for rows that have none.
   *
   * @param parameterFor the parameter of an adapter; those of all have one shape
   * @returns `[batch, ...shape]`
   */
  pickParameter(graph: Graph, parameterFor: (name: string) => Parameter): Tensor {
    return gather(new ParameterStack(this.names.map(parameterFor)).trace(graph), this.index)
  }

  /** {@link RowStack.pick} of vectors, in a shape that broadcasts with `x`, whose first axis is the batch. */
  pickFor(x: Tensor, base: Tensor, valueFor: (name: string) => Tensor): Tensor {
    const picked = this.pick(base, valueFor)
    return reshape(picked, [picked.shape[0], ...Array(Math.max(x.rank - 2, 0)).fill(1), ...picked.shape.slice(1)])
  }
}

/** A vector or matrix of ones. */
export function ones(graph: Graph, shape: readonly number[]): Tensor {
  return graph.constant(new Array(shape.reduce((a, b) => a * b, 1)).fill(1), 'float32', shape)
}
