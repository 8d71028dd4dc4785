/** @file The loss over a large vocabulary, rows by rows: logits and their gradient never exist as a whole. */
import {
  add,
  after,
  countedRows,
  gather,
  isFloat,
  joinRows,
  multiplyDims,
  type Node,
  type Rewritten,
  type RowParts,
  reachableNodes,
  rewrite,
  rowPart,
  scatterAddRows,
  stopGradient,
  sum,
  type Tensor,
  withGradient,
} from '../graph/index.ts'
import { gradients } from './gradients.ts'

/** From how many classes on, and how the rows are cut. */
export interface LossPartsOptions {
  /** Fewer classes than this are left alone. */
  classes?: number
  /** Rows of a part; by default as many as make so many bytes of logits. */
  rows?: number
  /** Bytes of the logits of a part (32 MB): fewer take less memory, and more time. */
  bytes?: number
  /** The most parts that there are: longer batches have larger parts. */
  parts?: number
}

const ELEMENT_BY_ELEMENT = new Set([
  ...['Add', 'Sub', 'Mul', 'Div', 'Max', 'Min', 'Neg', 'Tanh', 'Sigmoid', 'Exp', 'Relu', 'Cast', 'Where'],
])
/** Bytes of the logits of a part. */
const PART_BYTES = 32e6
const LEAST_ROWS = 64
/** Where a gradient of more values than these is summed up, few parts are made. */
const LARGE = 4e6
const [FEW_PARTS, MANY_PARTS] = [4, 16]

/** What lies between rows of hidden states and the losses of a large vocabulary. */
interface Head {
  loss: Node
  /** The nodes that give a vector over the vocabulary for each row, in the order of their creation. */
  wide: Node[]
  /** What they read row by row. */
  rows: Tensor[]
  /** What they read beside it: the same for all rows. */
  shared: Tensor[]
}

/** The head of a `CrossEntropy`. */
function headOf(loss: Node): Head {
  const [logits] = loss.inputs
  const [count, classes] = logits.shape
  const wide = new Set<Node>()
  const rows = new Set<Tensor>()
  const shared = new Set<Tensor>()
  const enter = (tensor: Tensor) => {
    const { op, inputs, attributes, outputs } = tensor.node
    const isProduct =
      op === 'Linear' || (op === 'MatMul' && !attributes.transA && inputs.every(input => input.rank === 2))
    const isWide = tensor.rank === 2 && tensor.shape[1] === classes && outputs.length === 1
    if (!isWide || !(isProduct || ELEMENT_BY_ELEMENT.has(op))) {
      rows.add(tensor)
      return
    }
    if (wide.has(tensor.node)) return
    wide.add(tensor.node)
    for (const [i, input] of inputs.entries()) {
      const isRows = isProduct ? i === 0 : input.rank === 2 && input.shape[0] === count && count !== 1
      if (isRows) enter(input)
      else shared.add(input)
    }
  }
  enter(logits)
  return { loss, wide: [...wide].sort((a, b) => a.id - b.id), rows: [...rows], shared: [...shared] }
}

/**
 * Rewrites each sum of cross-entropies over a large vocabulary: it and its gradients are computed together, a part of
 * the rows after the other, and only for rows whose label counts. A head whose logits are read elsewhere stays as it is.
 *
 * @param wrt what will be differentiated by; it survives in the new graph
 */
export function lossInParts(
  outputs: readonly Tensor[],
  wrt: readonly Tensor[],
  options: LossPartsOptions = {},
): Rewritten {
  const nodes = reachableNodes(outputs)
  const uses = new Map<Tensor, number>()
  for (const tensor of [...outputs, ...nodes.flatMap(node => node.inputs)])
    uses.set(tensor, (uses.get(tensor) ?? 0) + 1)
  const varies = new Set<Tensor>(wrt)
  for (const node of nodes) {
    if (node.op !== 'StopGradient' && node.inputs.some(input => varies.has(input)))
      for (const output of node.outputs) varies.add(output)
  }
  const heads = new Map<Node, Head>()
  for (const node of nodes) {
    const [losses] = node.inputs
    if (node.op !== 'ReduceSum' || losses.node.op !== 'CrossEntropy' || uses.get(losses) !== 1) continue
    const head = headOf(losses.node)
    if (
      Number(losses.node.inputs[0].shape[1]) >= (options.classes ?? 1024) &&
      isAlone(head, uses) &&
      node.outputs[0].rank === 0
    )
      heads.set(node, head)
  }
  return rewrite(
    outputs,
    (node, inputs) => {
      const old = heads.get(node)
      if (!old) return undefined
      const head = headOf(inputs[0].node)
      const needs = (now: readonly Tensor[], before: readonly Tensor[]) =>
        new Set(now.filter((tensor, i) => isFloat(tensor.dtype) && varies.has(before[i])))
      return [inParts(head, needs(head.rows, old.rows), needs(head.shared, old.shared), options)]
    },
    wrt,
  )
}

/** Whether nothing but the loss reads what a head computes. */
function isAlone({ wide, loss }: Head, uses: ReadonlyMap<Tensor, number>): boolean {
  const inside = new Map<Tensor, number>()
  for (const tensor of [...wide.flatMap(node => node.inputs), loss.inputs[0]])
    inside.set(tensor, (inside.get(tensor) ?? 0) + 1)
  return wide.length > 0 && wide.every(({ outputs: [output] }) => inside.get(output) === uses.get(output))
}

function inParts(
  { loss, wide, rows }: Head,
  rowsNeeded: ReadonlySet<Tensor>,
  sharedNeeded: ReadonlySet<Tensor>,
  options: LossPartsOptions,
): Tensor {
  const [logits, labels] = loss.inputs
  const chosen = countedRows(labels, loss.attributes.ignoreIndex as number)
  const [count] = chosen.shape
  const picked = new Map([...rows, labels].map(tensor => [tensor, gather(tensor, chosen)]))
  const cut = cutOf(logits, wide, sharedNeeded, options)
  const byRows = new Map<Tensor, Tensor[]>([...rowsNeeded].map(tensor => [tensor, []]))
  const sums = new Map<Tensor, Tensor>()
  let total: Tensor | undefined
  for (let part = 0; part < cut.parts; part++) {
    const own = new Map<Tensor, Tensor>()
    for (const [tensor, values] of picked) own.set(tensor, stopGradient(rowPart(values, part, cut)))
    for (const { op, inputs, attributes, outputs } of wide) {
      const copy = logits.graph.add(
        op,
        inputs.map(input => own.get(input) ?? input),
        attributes,
      )
      own.set(outputs[0], copy[0])
    }
    const losses = logits.graph.add('CrossEntropy', [own.get(logits)!, own.get(labels)!], loss.attributes)[0]
    const value = sum(losses)
    const wrt = [...rowsNeeded].map(tensor => own.get(tensor)!).concat([...sharedNeeded])
    const found = gradients(value, wrt)
    for (const parts of byRows.values()) parts.push(found.shift()!)
    for (const tensor of sharedNeeded) {
      const before = sums.get(tensor)
      const gradient = found.shift()!
      sums.set(tensor, before ? add(before, gradient) : gradient)
    }
    // A part is done with before the next one begins.
    const done = after(value, [...[...byRows.values()].map(parts => parts[part]), ...sums.values()])
    total = total ? add(total, done) : done
  }
  const whole = ([tensor, parts]: [Tensor, Tensor[]]): [Tensor, Tensor] => [
    tensor,
    scatterAddRows(chosen, joinRows(parts, count), tensor.shape[0]),
  ]
  return withGradient(total!, [...[...byRows].map(whole), ...sums])
}

function cutOf(
  logits: Tensor,
  wide: readonly Node[],
  sharedNeeded: ReadonlySet<Tensor>,
  options: LossPartsOptions,
): RowParts {
  const classes = Number(logits.shape[1])
  const isLarge = [...sharedNeeded].some(({ shape }) => Number(multiplyDims(...shape)) > LARGE)
  // Every part, an empty one too, dequantises the matrix again.
  const isQuantized = wide.some(({ inputs }) => inputs.some(({ node }) => node.op === 'Dequantize'))
  return {
    parts: options.parts ?? (isLarge || isQuantized ? FEW_PARTS : MANY_PARTS),
    least: options.rows ?? Math.max(LEAST_ROWS, Math.ceil((options.bytes ?? PART_BYTES) / 4 / classes)),
  }
}
