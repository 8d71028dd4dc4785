/** @file The graph: symbolic tensors, the nodes that produce them, and the trace in progress. */
import { canonicalDim, type Dim, formatShape, type Shape } from './dim.ts'
import type { DType } from './dtype.ts'

/** The type of a value: its elements and its shape. */
export interface TensorType {
  dtype: DType
  shape: Shape
}

/** A symbolic tensor: the promise of a value, produced by a node of a graph. It holds no data. */
export class Tensor implements TensorType {
  readonly node: Node
  /** Which of the node's outputs this is. */
  readonly index: number
  readonly dtype: DType
  readonly shape: Shape

  constructor(node: Node, index: number, type: TensorType) {
    this.node = node
    this.index = index
    this.dtype = type.dtype
    this.shape = type.shape.map(canonicalDim)
  }

  /** The graph that this tensor belongs to. */
  get graph(): Graph {
    return this.node.graph
  }

  /** The number of axes. */
  get rank(): number {
    return this.shape.length
  }

  /** `float32[batch, 4]`, for messages. */
  toString(): string {
    return `${this.dtype}${formatShape(this.shape)}`
  }
}

/** Something that becomes a tensor when a graph is traced: a parameter. */
export interface Traceable {
  trace(graph: Graph): Tensor
}

/** What the operators take: a tensor, a parameter, or a number (a scalar of the other operand's type). */
export type Operand = Tensor | Traceable | number

/** The value of a node's attribute. */
export type Attribute = number | string | boolean | readonly number[] | readonly Dim[] | ArrayBufferView | object

/** One operator call. */
export interface Node {
  readonly graph: Graph
  /** Position in the order of creation. */
  readonly id: number
  readonly op: string
  readonly inputs: readonly Tensor[]
  readonly attributes: Readonly<Record<string, Attribute>>
  readonly outputs: readonly Tensor[]
}

/** A constant of the model whose bytes lie elsewhere: a weight in a file or in memory. The runtime reads it. */
export interface Weight extends TensorType {
  readonly name: string
}

/** Works out the output types of a node, or throws an error that says which shapes do not fit. */
export type Infer = (inputs: readonly Tensor[], attributes: Node['attributes']) => TensorType[]

const inference = new Map<string, Infer>()

/** Makes an operator known: its name and how the types of its outputs follow from its inputs. */
export function defineOperator(op: string, infer: Infer): void {
  inference.set(op, infer)
}

/** The names of all operators. */
export function operatorNames(): string[] {
  return [...inference.keys()]
}

const traces: Graph[] = []

/** A computation being built. Values are added by the operator functions; nothing is executed here. */
export class Graph {
  readonly nodes: Node[] = []
  /** Whether layers such as dropout behave as in training. */
  training = false
  /** Scalars that layers want added to the loss, in the order they came. See {@link Graph.addLoss}. */
  #losses: Tensor[] = []
  /**
   * Asked at the first use of something that was not bound: the tensor that it stands for, or undefined where it is a
   * constant.
   */
  resolver: ((key: object) => Tensor | undefined) | undefined
  readonly #bound = new Map<object, Tensor | (() => Tensor)>()
  readonly #inputs = new Map<string, Tensor>()

  /** The named inputs, in the order of their creation. */
  get inputs(): ReadonlyMap<string, Tensor> {
    return this.#inputs
  }

  /** Declares an input. Asking again for the same name returns the same tensor. */
  input(name: string, dtype: DType, shape: Shape): Tensor {
    const known = this.#inputs.get(name)
    if (known) return known
    const tensor = this.add('Input', [], { name, dtype, shape: [...shape] })[0]
    this.#inputs.set(name, tensor)
    return tensor
  }

  /** A constant scalar or array. */
  constant(value: number | readonly number[], dtype: DType, shape?: readonly number[]): Tensor {
    const values = typeof value === 'number' ? [value] : value
    return this.add('Constant', [], {
      values,
      dtype,
      shape: shape ?? (typeof value === 'number' ? [] : [value.length]),
    })[0]
  }

  /** A weight as a constant of the graph; the same object gives the same tensor. */
  weight(weight: Weight): Tensor {
    const known = this.bound(weight)
    if (known) return known
    const tensor = this.add('Weight', [], { weight })[0]
    this.#bound.set(weight, tensor)
    return tensor
  }

  /**
   * From now on `key` (a parameter) stands for `tensor` in this graph. A function is called at the first use, so that
   * the nodes it makes stand where they are needed.
   */
  bind(key: object, tensor: Tensor | (() => Tensor)): void {
    this.#bound.set(key, tensor)
  }

  /** What `key` stands for, if it was bound; with `create` false, only if it was used already. */
  bound(key: object, create = true): Tensor | undefined {
    const value = this.#bound.get(key)
    if (typeof value !== 'function') return value
    if (!create) return undefined
    const tensor = value()
    this.#bound.set(key, tensor)
    return tensor
  }

  /** What {@link Graph.resolver} says that `key` stands for, from now on. */
  resolve(key: object): Tensor | undefined {
    const tensor = this.resolver?.(key)
    if (tensor) this.#bound.set(key, tensor)
    return tensor
  }

  /**
   * Runs `build` while each key stands for the tensor beside it, then for what it stood for before: a module computes
   * with other parameters than its own.
   */
  rebind<T>(bindings: Iterable<readonly [object, Tensor]>, build: () => T): T {
    const before = new Map<object, Tensor | (() => Tensor) | undefined>()
    for (const [key, tensor] of bindings) {
      before.set(key, this.#bound.get(key))
      this.#bound.set(key, tensor)
    }
    try {
      return build()
    } finally {
      for (const [key, value] of before) {
        if (value === undefined) this.#bound.delete(key)
        else this.#bound.set(key, value)
      }
    }
  }

  /** Puts a scalar beside the loss (a penalty, a consistency term): whoever forms the loss adds it, once. */
  addLoss(loss: Tensor): void {
    if (loss.rank !== 0) throw new Error(`addLoss: a loss must be a scalar, got ${loss}`)
    this.#losses.push(loss)
  }

  /** The scalars that {@link Graph.addLoss} was given since this was last called. */
  takeLosses(): Tensor[] {
    const losses = this.#losses
    this.#losses = []
    return losses
  }

  /** Adds a node. Operator functions call this; the types of the outputs are inferred. */
  add(op: string, inputs: readonly Tensor[], attributes: Node['attributes'] = {}): readonly Tensor[] {
    const infer = inference.get(op)
    if (!infer) throw new Error(`The operator "${op}" is not known`)
    for (const input of inputs) {
      if (input.graph !== this)
        throw new Error(`${op}: a tensor of another graph was given; trace everything in one graph`)
    }
    const outputs: Tensor[] = []
    const node: Node = { graph: this, id: this.nodes.length, op, inputs, attributes, outputs }
    let types: TensorType[]
    try {
      types = infer(inputs, attributes)
      for (const { shape } of types) {
        if (shape.some(dim => typeof dim === 'number' && !(Number.isInteger(dim) && dim >= 0))) {
          throw new Error(`${formatShape(shape)} is not a shape: lengths are integers from 0 upwards`)
        }
      }
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new Error(`${op}(${inputs.join(', ')}): ${reason}`, { cause })
    }
    for (const [index, type] of types.entries()) outputs.push(new Tensor(node, index, type))
    this.nodes.push(node)
    return outputs
  }

  /** Runs `build` with this graph as the current one, so that operators on parameters alone know where they belong. */
  trace<T>(build: () => T): T {
    traces.push(this)
    try {
      return build()
    } finally {
      traces.pop()
    }
  }
}

/** The graph that operands belong to: that of a tensor among them, otherwise the trace in progress. */
export function graphOf(operands: readonly (Operand | undefined)[]): Graph {
  for (const operand of operands) if (operand instanceof Tensor) return operand.graph
  const current = traces.at(-1)
  if (!current) {
    throw new Error(
      'No graph is being traced: call forward with symbolic tensors, inside compile, valueAndGrad or Graph.trace',
    )
  }
  return current
}

/** Turns an operand into a tensor; a number becomes a scalar of type `dtype`. */
export function toTensor(graph: Graph, operand: Operand, dtype: DType = 'float32'): Tensor {
  if (operand instanceof Tensor) return operand
  if (typeof operand === 'number') return graph.constant(operand, dtype)
  return operand.trace(graph)
}

/** Turns operands into tensors; numbers take the element type of the first operand that has one. */
export function toTensors(operands: readonly Operand[]): Tensor[] {
  const graph = graphOf(operands)
  const tensors = operands.map(operand => (typeof operand === 'number' ? undefined : toTensor(graph, operand)))
  const dtype = tensors.find(tensor => tensor !== undefined)?.dtype
  return operands.map((operand, i) => tensors[i] ?? toTensor(graph, operand, dtype))
}

defineOperator('Input', (_, { dtype, shape }) => [{ dtype: dtype as DType, shape: shape as Shape }])
defineOperator('Constant', (_, { dtype, shape }) => [{ dtype: dtype as DType, shape: shape as Shape }])
defineOperator('Weight', (_, { weight }) => [{ dtype: (weight as Weight).dtype, shape: (weight as Weight).shape }])
