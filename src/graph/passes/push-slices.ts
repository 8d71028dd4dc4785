/**
 * @file Moves slices towards the inputs: when only one token of a sequence is read at the end (a classifier over the
 * first token), everything that works row by row is computed for that token alone, forward and backward.
 */
import { canonicalDim, type Dim, divideDims, multiplyDims, subtractDims } from '../dim.ts'
import type { Graph, Node, Tensor } from '../graph.ts'
import { type Rewritten, reachableNodes, rewrite } from './rewrite.ts'

/** A range of one axis. */
interface Range {
  axis: number
  start: Dim
  end: Dim
}

const ELEMENTWISE = new Set([
  ...['Neg', 'Abs', 'Exp', 'Log', 'Sqrt', 'Reciprocal', 'Erf', 'Tanh', 'Sigmoid', 'Relu', 'Silu', 'Gelu', 'Cast'],
  ...['Add', 'Sub', 'Mul', 'Div', 'Where', 'StopGradient'],
])
const ALONG_LAST_AXIS = new Set(['Linear', 'LayerNorm', 'RmsNorm'])

/**
 * Pushes every Slice as far towards the inputs as it goes without computing anything twice.
 *
 * @param keep tensors that must survive in the new graph (parameters to differentiate by)
 */
export function pushSlices(outputs: readonly Tensor[], keep: readonly Tensor[] = []): Rewritten {
  const uses = new Map<Tensor, number>()
  for (const output of outputs) uses.set(output, (uses.get(output) ?? 0) + 1)
  for (const node of reachableNodes(outputs)) {
    for (const input of node.inputs) uses.set(input, (uses.get(input) ?? 0) + 1)
  }
  // In the new graph a value is only ever consumed through the slice when its original had one use.
  const single = new Set<Tensor>()
  const result = rewrite(
    outputs,
    (node, inputs, graph) => {
      if (node.op === 'Slice') {
        const range = node.attributes as unknown as Range
        const once = uses.get(node.inputs[0]) === 1 && single.has(inputs[0]) && range.start !== range.end
        const pushed = once ? push(graph, inputs[0], range, single) : undefined
        if (pushed) return [pushed]
      }
      const built = node.op === 'Input' ? undefined : graph.add(node.op, inputs, node.attributes)
      const [first, ...others] = node.outputs.map(output => uses.get(output) ?? 0)
      if (built && first === 1 && others.every(count => count === 0)) single.add(built[0])
      return built
    },
    keep,
  )
  return result
}

function slice(graph: Graph, x: Tensor, range: Range): Tensor {
  return graph.add('Slice', [x], { ...range })[0]
}

/** The slice of an operand that may be broadcast along the axis, `fromEnd` axes before its last. */
function sliceOperand(graph: Graph, x: Tensor, range: Range, rank: number, single: ReadonlySet<Tensor>): Tensor {
  const axis = range.axis - rank + x.rank
  if (axis < 0 || x.shape[axis] === 1) return x
  const own = { ...range, axis }
  return (single.has(x) ? push(graph, x, own, single) : undefined) ?? slice(graph, x, own)
}

/** `x[range]`, computed from slices of x's own inputs; undefined where the operator does not allow it. */
function push(graph: Graph, x: Tensor, range: Range, single: ReadonlySet<Tensor>): Tensor | undefined {
  const node: Node = x.node
  const { op, inputs, attributes } = node
  const last = x.rank - 1
  const operand = (tensor: Tensor) => sliceOperand(graph, tensor, range, x.rank, single)
  if (ELEMENTWISE.has(op)) return graph.add(op, inputs.map(operand), attributes)[0]
  if (ALONG_LAST_AXIS.has(op) && range.axis < last) {
    return graph.add(op, [operand(inputs[0]), ...inputs.slice(1)], attributes)[0]
  }
  if (op === 'Softmax' && attributes.axis !== range.axis) return graph.add(op, [operand(inputs[0])], attributes)[0]
  if (op === 'Transpose') {
    const axis = (attributes.perm as readonly number[])[range.axis]
    return graph.add(op, [sliceOperand(graph, inputs[0], { ...range, axis }, x.rank, single)], attributes)[0]
  }
  if (op === 'MatMul' && range.axis === last - 1 && !attributes.transA) {
    const own = { ...range, axis: inputs[0].rank - 2 }
    return graph.add(op, [sliceOperand(graph, inputs[0], own, inputs[0].rank, single), inputs[1]], attributes)[0]
  }
  if (op === 'Reshape') {
    const axis = reshapedAxis(inputs[0], x, range.axis)
    if (axis === undefined) return undefined
    const length = subtractDims(range.end, range.start)
    const shape = x.shape.map((dim, i) => (i === range.axis ? length : dim))
    return graph.add(op, [sliceOperand(graph, inputs[0], { ...range, axis }, inputs[0].rank, single)], { shape })[0]
  }
  if (op === 'DropoutMask') {
    const length = canonicalDim(subtractDims(range.end, range.start))
    return graph.add(op, [], { ...attributes, shape: x.shape.map((dim, i) => (i === range.axis ? length : dim)) })[0]
  }
  return undefined
}

/** The axis of `from` that a reshape to `to` keeps as axis `axis`, if there is one. */
function reshapedAxis(from: Tensor, to: Tensor, axis: number): number | undefined {
  const before = multiplyDims(...to.shape.slice(0, axis))
  for (let i = 0; i < from.rank; i++) {
    const same = divideDims(multiplyDims(...from.shape.slice(0, i)), before) === 1
    if (same && from.shape[i] === to.shape[axis]) return i
  }
  return undefined
}
