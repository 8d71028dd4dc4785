/** @file Run-time shapes: how a symbolic shape becomes an int64 tensor in the emitted model. */
import { type Dim, dimTerms, formatShape, type Shape, subtractDims } from '../dim.ts'
import type { Tensor } from '../graph.ts'
import type { Emitter } from './emitter.ts'

/** Emits the nodes that compute dimensions and shapes while the model runs, each once. */
export class RuntimeShapes {
  readonly #emitter: Emitter
  readonly #inputs: Tensor[]
  readonly #declared: ReadonlyMap<string, Tensor>
  readonly #known = new Map<Dim, string>()
  readonly #shapes = new Map<string, string>()
  readonly #computed = new Map<string, string>()
  readonly #defined = new Map<Dim, { name: string; axis: number }>()

  /**
   * @param inputs what the model reads
   * @param declared the inputs of the whole graph: one is added to `inputs` where it alone has a length that is needed
   */
  constructor(emitter: Emitter, inputs: Tensor[], declared: ReadonlyMap<string, Tensor>) {
    this.#emitter = emitter
    this.#inputs = inputs
    this.#declared = declared
  }

  /** From now on `dim` is the length of an axis of the value `name`. */
  define(dim: Dim, name: string, axis: number): void {
    if (typeof dim === 'string' && !this.#defined.has(dim)) this.#defined.set(dim, { name, axis })
  }

  /** A value that several places need, emitted once. */
  computed(what: string, emit: () => string): string {
    const known = this.#computed.get(what)
    if (known) return known
    const name = emit()
    this.#computed.set(what, name)
    return name
  }

  /** The name of an int64 `[1]` value that holds the dimension. Throws when no input has it as an axis of its own. */
  dim(dim: Dim): string {
    if (typeof dim === 'number') return this.#emitter.int64([dim])
    const known = this.#known.get(dim)
    if (known) return known
    const defined = this.#defined.get(dim)
    if (defined) {
      const { name, axis } = defined
      const result = this.#emitter.node('Shape', [name], { start: { int: axis }, end: { int: axis + 1 } })
      this.#known.set(dim, result)
      return result
    }
    const axis = this.#axisOfLength(dim, this.#inputs) ?? this.#axisPlusConstant(dim)
    if (axis) return axis
    const terms = dimTerms(dim).map(({ names, coefficient }) => {
      const factors = names.map(name => this.#named(name))
      if (coefficient !== 1 || factors.length === 0) factors.unshift(this.#emitter.int64([coefficient]))
      return factors.reduce((a, b) => this.#emitter.node('Mul', [a, b]))
    })
    const result = terms.reduce((a, b) => this.#emitter.node('Add', [a, b]))
    this.#known.set(dim, result)
    return result
  }

  /** A dimension that an axis of an input has but for a constant. */
  #axisPlusConstant(dim: Dim): string | undefined {
    for (const inputs of [this.#inputs, [...this.#declared.values()]]) {
      for (const length of inputs.flatMap(input => input.shape)) {
        const constant = typeof length === 'number' ? undefined : subtractDims(dim, length)
        if (typeof constant !== 'number') continue
        const result = this.#emitter.node('Add', [this.#axisOfLength(length, inputs)!, this.#emitter.int64([constant])])
        this.#known.set(dim, result)
        return result
      }
    }
    return undefined
  }

  #named(name: string): string {
    if (this.#defined.has(name)) return this.dim(name)
    const axis = this.#axisOfLength(name, this.#inputs) ?? this.#axisOfLength(name, this.#declared.values())
    if (axis) return axis
    throw new Error(
      `The dimension "${name}" is not the length of an axis of any input, so its value is unknown at run time`,
    )
  }

  /** The run-time length of an input's axis that is declared to be `dim` long. */
  #axisOfLength(dim: Dim, inputs: Iterable<Tensor>): string | undefined {
    const known = this.#known.get(dim)
    if (known) return known
    for (const input of inputs) {
      const axis = input.shape.indexOf(dim)
      if (axis < 0) continue
      const name = input.node.attributes.name as string
      if (!this.#inputs.some(other => other.node.attributes.name === name)) {
        this.#emitter.setName(input, name)
        this.#inputs.push(input)
      }
      const result = this.#emitter.node('Shape', [name], { start: { int: axis }, end: { int: axis + 1 } })
      this.#known.set(dim, result)
      return result
    }
    return undefined
  }

  /** The name of an int64 value that holds a shape. */
  shape(shape: Shape): string {
    if (shape.every(dim => typeof dim === 'number')) return this.#emitter.int64(shape)
    const key = formatShape(shape)
    const known = this.#shapes.get(key)
    if (known) return known
    const result = this.#emitter.node(
      'Concat',
      shape.map(dim => this.dim(dim)),
      { axis: { int: 0 } },
    )
    this.#shapes.set(key, result)
    return result
  }

  /**
   * `x` of shape `from` in the shape `to`. Where 0 (as it was) or -1 (what is left) says it, no run-time value is needed;
   * the two are not mixed, because what is left is unknown beside a length that turns out to be 0.
   */
  reshape(x: string, from: Shape, to: Shape): string {
    const symbolic = to.filter(dim => typeof dim !== 'number')
    const asItWas = to.every((dim, i) => typeof dim === 'number' || dim === from[i])
    if (!to.includes(0) && (asItWas || symbolic.length === 1)) {
      const spelled = to.map(dim => (typeof dim === 'number' ? dim : asItWas ? 0 : -1))
      return this.#emitter.node('Reshape', [x, this.#emitter.int64(spelled)])
    }
    return this.#emitter.node('Reshape', [x, this.shape(to)], { allowzero: { int: 1 } })
  }
}
