/** @file Foretells what a lowered model needs: the order and the buffers that ONNX Runtime will choose, simulated. */
import type { OnnxNode } from '../../onnx/index.ts'
import { type Dim, evaluateDim, type Shape } from '../dim.ts'
import { BYTES_PER_ELEMENT, type DType } from '../dtype.ts'
import { arenaBytes } from './arena.ts'
import type { LoweredModel } from './model.ts'

/** What a run of a model holds in the engine's memory, in bytes; weights and inputs are not among it. */
export interface MemoryPlan {
  /** The most that all intermediate values take at one moment. */
  peak: number
  /** What the engine's arena takes from the system for them, and keeps. */
  arena: number
  /** The position in the order of execution where that is. */
  at: number
  /** The values that live at that moment, the largest first. */
  live: { name: string; bytes: number }[]
  /** The nodes in the order in which they run. */
  order: readonly OnnxNode[]
}

/** Operators that hand their first input's memory on. */
const ALIAS = new Set(['Reshape', 'Squeeze', 'Unsqueeze'])
/** Operators that write over their first input where nothing reads it afterwards. */
const IN_PLACE = new Set([
  ...['Identity', 'Neg', 'Abs', 'Sqrt', 'Reciprocal', 'Exp', 'Log', 'Floor', 'Relu', 'Sigmoid', 'Tanh', 'Softmax'],
  ...['Cast', 'ScatterElements', 'ScatterND', 'QuickGelu', 'Gelu', 'Not', 'LogSoftmax'],
])
const IN_PLACE_EITHER = new Set(['Add', 'Sub', 'Mul', 'Div'])

/** The nodes in the order in which ONNX Runtime runs them: depth first from the leaves, the highest index first. */
export function executionOrder(nodes: readonly OnnxNode[]): OnnxNode[] {
  const producer = new Map<string, number>()
  for (const [i, node] of nodes.entries()) for (const output of node.outputs) if (output) producer.set(output, i)
  const sources = nodes.map(({ inputs }) => {
    const found = new Set<number>()
    for (const input of inputs) if (producer.has(input)) found.add(producer.get(input)!)
    return [...found].sort((a, b) => a - b)
  })
  const isLeaf = new Array<boolean>(nodes.length).fill(true)
  for (const list of sources) for (const source of list) isLeaf[source] = false
  const order: OnnxNode[] = []
  const entered = new Array<boolean>(nodes.length).fill(false)
  const stack = nodes.flatMap((_, i) => (isLeaf[i] ? [i] : []))
  while (stack.length) {
    const next = stack.pop()!
    if (next < 0) {
      order.push(nodes[~next])
      continue
    }
    if (entered[next]) continue
    entered[next] = true
    stack.push(~next)
    for (const source of sources[next]) if (!entered[source]) stack.push(source)
  }
  return order
}

interface Value {
  dtype: DType
  shape: Shape
}

/** A piece of memory that one value after another uses. */
interface Buffer {
  bytes: number
  owner: string
  /** Reads that are still to come, of whatever value lies in it. */
  uses: number
  shape: string
  first: number
  last: number
}

/**
 * Simulates ONNX Runtime's planner (1.30): the order of execution, values written over others, and dead buffers taken
 * again for values of the same shape.
 *
 * @param bindings the lengths that the named dimensions have
 */
export function planMemory(lowered: LoweredModel, bindings: Readonly<Record<string, number>>): MemoryPlan {
  const { graph } = lowered.model
  const lengths: Record<string, number> = { ...bindings }
  for (const { name, length } of lowered.derived) lengths[name] = length(lengths)
  const order = executionOrder(graph.nodes)
  const types = new Map<string, Value>()
  for (const { name, dtype, dims } of graph.valueInfo ?? [])
    types.set(name, { dtype: dtype as DType, shape: dims as Shape })
  for (const { name, dtype, shape } of lowered.outputs) types.set(name, { dtype, shape })
  const produced = new Set(order.flatMap(node => node.outputs))
  const outputs = new Set(lowered.outputs.map(({ name }) => name))
  const uses = new Map<string, number>()
  for (const node of order) for (const input of node.inputs) uses.set(input, (uses.get(input) ?? 0) + 1)
  for (const name of outputs) uses.set(name, (uses.get(name) ?? 0) + 1)
  const buffers: Buffer[] = []
  const bufferOf = new Map<string, Buffer>()
  const free: Buffer[] = []
  const keyOf = (name: string) => {
    const type = types.get(name)
    return type && `${BYTES_PER_ELEMENT[type.dtype]}[${type.shape.join()}]`
  }
  const bytesOf = (name: string) => {
    const type = types.get(name)
    return type ? sizeOf(type.shape, lengths) * BYTES_PER_ELEMENT[type.dtype] : 0
  }
  const release = (buffer: Buffer, at: number, count: number) => {
    buffer.last = at
    buffer.uses -= count
    if (buffer.uses === 0) free.unshift(buffer)
  }
  for (const [at, node] of order.entries()) {
    for (const output of node.outputs) {
      if (!output) continue
      const wanted = uses.get(output) ?? 0
      const reused = outputs.has(output) ? undefined : reusable(node, output)
      if (reused) {
        reused.uses += wanted
        reused.last = at
        // What a value is a view of may be of unknown size itself.
        reused.bytes = Math.max(reused.bytes, bytesOf(output))
        bufferOf.set(output, reused)
        continue
      }
      const key = keyOf(output)
      const again = key !== undefined && !outputs.has(output) ? free.findIndex(({ shape }) => shape === key) : -1
      if (again >= 0) {
        const [buffer] = free.splice(again, 1)
        buffer.uses = wanted
        buffer.owner = output
        buffer.last = at
        bufferOf.set(output, buffer)
        if (wanted === 0) free.unshift(buffer)
        continue
      }
      const bytes = bytesOf(output)
      const buffer = { bytes, owner: output, uses: wanted, shape: key ?? '', first: at, last: at }
      buffers.push(buffer)
      bufferOf.set(output, buffer)
      if (wanted === 0) free.unshift(buffer)
    }
    for (const input of node.inputs) {
      const buffer = bufferOf.get(input)
      if (buffer) release(buffer, at, 1)
    }
  }
  for (const name of outputs) {
    const buffer = bufferOf.get(name)
    if (buffer) buffer.last = order.length
  }
  return { ...highest(buffers, order.length), arena: arenaBytes(buffers), order }

  function reusable(node: OnnxNode, output: string): Buffer | undefined {
    if (node.outputs[0] !== output) return undefined
    if (ALIAS.has(node.op)) return bufferOf.get(node.inputs[0])
    const candidates = IN_PLACE_EITHER.has(node.op) ? node.inputs : IN_PLACE.has(node.op) ? node.inputs.slice(0, 1) : []
    for (const input of candidates) {
      const buffer = produced.has(input) ? bufferOf.get(input) : undefined
      const key = keyOf(input)
      if (buffer?.uses === 1 && key !== undefined && key === keyOf(output)) return buffer
    }
    return undefined
  }
}

const sizeOf = (shape: readonly Dim[], lengths: Readonly<Record<string, number>>) =>
  shape.reduce<number>((size, dim) => size * evaluateDim(dim, lengths), 1)

function highest(buffers: readonly Buffer[], steps: number): Omit<MemoryPlan, 'order' | 'arena'> {
  const change = new Float64Array(steps + 2)
  for (const { bytes, first, last } of buffers) {
    change[first] += bytes
    change[last + 1] -= bytes
  }
  let [now, peak, at] = [0, 0, 0]
  for (let i = 0; i <= steps; i++) {
    now += change[i]
    if (now > peak) [peak, at] = [now, i]
  }
  const live = buffers.filter(({ first, last }) => first <= at && last >= at)
  return {
    peak,
    at,
    live: live.map(({ owner, bytes }) => ({ name: owner, bytes })).sort((a, b) => b.bytes - a.bytes),
  }
}
