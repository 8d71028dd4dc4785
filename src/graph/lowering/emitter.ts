/** @file Collects the ONNX nodes and constants of a model that is being emitted. */
import type { OnnxAttribute, OnnxNode, OnnxTensor } from '../../onnx/index.ts'
import { BYTES_PER_ELEMENT, type DType } from '../dtype.ts'
import type { Tensor, TensorType } from '../graph.ts'

/** Builds a model node by node and names its values. */
export class Emitter {
  readonly nodes: OnnxNode[] = []
  readonly initializers: OnnxTensor[] = []
  /** The types of values by name: ONNX Runtime reuses memory in place only between shapes that it knows to be equal. */
  readonly types = new Map<string, TensorType>()
  readonly #names = new Map<Tensor, string>()
  readonly #constants = new Map<string, string>()
  readonly #taken: Set<string>
  #next = 0

  /** @param reserved names that values of the model have from outside: its inputs and outputs */
  constructor(reserved: Iterable<string> = []) {
    this.#taken = new Set(reserved)
  }

  /** The name under which a tensor stands in the model. */
  nameOf(tensor: Tensor): string {
    const name = this.#names.get(tensor)
    if (!name) throw new Error(`${tensor.node.op} ${tensor} was used before it was emitted`)
    return name
  }

  /** Gives a tensor a name. */
  setName(tensor: Tensor, name: string): void {
    this.#names.set(tensor, name)
  }

  /** A name that nothing has yet. */
  freshName(base: string): string {
    for (;;) {
      const name = `${base}_${this.#next++}`
      if (!this.#taken.has(name)) return this.#take(name)
    }
  }

  /** `wanted` as a name, where nothing has it yet, otherwise another one. */
  claimName(wanted: string): string {
    return wanted && !this.#taken.has(wanted) ? this.#take(wanted) : this.freshName(wanted || 'weight')
  }

  #take(name: string): string {
    this.#taken.add(name)
    return name
  }

  /** Adds a node with one output and returns the output's name. */
  node(op: string, inputs: readonly string[], attributes: Record<string, OnnxAttribute> = {}, domain = ''): string {
    return this.nodeWithOutputs(op, inputs, 1, attributes, domain)[0]
  }

  /** Adds a node with several outputs; `used` says which of them are wanted (all by default). */
  nodeWithOutputs(
    op: string,
    inputs: readonly string[],
    count: number,
    attributes: Record<string, OnnxAttribute> = {},
    domain = '',
    used: (index: number) => boolean = () => true,
  ): string[] {
    const name = this.freshName(op)
    const outputs = Array.from({ length: count }, (_, i) => (used(i) ? (i ? `${name}.${i}` : name) : ''))
    const written = outputs.slice(0, outputs.findLastIndex(Boolean) + 1)
    this.nodes.push({ op, domain, name, inputs, outputs: written, attributes })
    return outputs
  }

  /** A constant, shared between equal ones. */
  constant(values: readonly number[], dtype: DType, dims: readonly number[]): string {
    const key = `${dtype}[${dims}]${values.map(value => (Object.is(value, -0) ? '-0' : value))}`
    const known = this.#constants.get(key)
    if (known) return known
    const name = this.freshName('const')
    this.#constants.set(key, name)
    this.initializers.push({ name, dtype, dims, data: packConstant(values, dtype) })
    return name
  }

  /** A float32 constant of many values, made once for each key. */
  table(key: string, dims: readonly number[], make: () => Float32Array): string {
    const known = this.#constants.get(key)
    if (known) return known
    const name = this.freshName('table')
    this.#constants.set(key, name)
    const { buffer, byteOffset, byteLength } = make()
    this.initializers.push({ name, dtype: 'float32', dims, data: new Uint8Array(buffer, byteOffset, byteLength) })
    return name
  }

  /** An int64 constant of one axis. */
  int64(values: readonly number[]): string {
    return this.constant(values, 'int64', [values.length])
  }
}

function packConstant(values: readonly number[], dtype: DType): Uint8Array {
  const bytes = new Uint8Array(values.length * BYTES_PER_ELEMENT[dtype])
  const view = new DataView(bytes.buffer)
  values.forEach((value, i) => {
    if (dtype === 'float32') view.setFloat32(i * 4, value, true)
    else if (dtype === 'float64') view.setFloat64(i * 8, value, true)
    else if (dtype === 'int64') view.setBigInt64(i * 8, BigInt(value), true)
    else if (dtype === 'int32') view.setInt32(i * 4, value, true)
    else if (dtype === 'bool' || dtype === 'uint8') view.setUint8(i, value)
    else throw new Error(`Constants of type ${dtype} are not supported; cast a float32 constant`)
  })
  return bytes
}
