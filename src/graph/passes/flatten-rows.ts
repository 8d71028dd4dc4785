/**
 * @file Keeps values that are computed row by row as matrices `[rows, width]` from one dense layer to the next. A step of
 * a decoder has thousands of small nodes, of which every second one would only fold rows and unfold them again.
 */
import { multiplyDims, type Shape } from '../dim.ts'
import type { Graph, Tensor } from '../graph.ts'
import { type RewriteRule, type Rewritten, rewrite } from './rewrite.ts'

const UNARY = new Set([
  ...['Neg', 'Abs', 'Exp', 'Log', 'Sqrt', 'Reciprocal', 'Erf', 'Tanh', 'Sigmoid', 'Relu', 'Softplus', 'Silu', 'Gelu'],
])
const BINARY = new Set(['Add', 'Sub', 'Mul', 'Div'])
const NORMS = new Set(['LayerNorm', 'RmsNorm'])

const equal = (a: Shape, b: Shape) => a.length === b.length && a.every((dim, i) => dim === b[i])
const rowsOf = ({ shape }: Tensor): Shape => [multiplyDims(...shape.slice(0, -1)), shape.at(-1)!]

function reshape(graph: Graph, x: Tensor, shape: Shape): Tensor {
  if (equal(x.shape, shape)) return x
  // A reshape of a reshape is one of what that was made of.
  const source = x.node.op === 'Reshape' ? x.node.inputs[0] : x
  if (equal(source.shape, shape)) return source
  return graph.add('Reshape', [source], { shape: [...shape] })[0]
}

/** Whether `x` is a matrix with its rows unfolded. */
const isUnfolded = (x: Tensor) => x.rank > 2 && x.node.op === 'Reshape' && equal(x.node.inputs[0].shape, rowsOf(x))

/** Whether an operand means the same beside a matrix of rows as beside the tensor it was: one number, or one a column. */
const isPerColumn = (x: Tensor) => x.rank <= 1

const flatten: RewriteRule = (node, inputs, graph) => {
  const [x, ...others] = inputs
  const { op, attributes, outputs } = node
  const flat = (tensor: Tensor) => (isPerColumn(tensor) ? tensor : reshape(graph, tensor, rowsOf(tensor)))
  const unfolded = (results: readonly Tensor[]) => results.map((result, i) => reshape(graph, result, outputs[i].shape))
  const onRows = (operands: readonly Tensor[]) => unfolded(graph.add(op, operands, attributes))

  if (op === 'Reshape') return [reshape(graph, x, outputs[0].shape)]
  if (op === 'Linear' && x.rank > 2) return onRows([flat(x), ...others])
  if (op === 'MatMul' && x.rank > 2 && others[0].rank === 2 && !attributes.transA) return onRows([flat(x), others[0]])
  if (UNARY.has(op) && isUnfolded(x)) return onRows([flat(x)])
  if (NORMS.has(op) && isUnfolded(x)) return onRows([flat(x), ...others])
  if (BINARY.has(op) && inputs.some(isUnfolded)) {
    const { shape } = outputs[0]
    const fits = inputs.every(input => isPerColumn(input) || equal(input.shape, shape))
    if (fits) return onRows(inputs.map(flat))
  }
  return undefined
}

/** Computes in matrices what works row by row, and merges reshapes. */
export function flattenRows(outputs: readonly Tensor[]): Rewritten {
  return rewrite(rewrite(outputs, flatten).outputs)
}
