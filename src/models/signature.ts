/** @file The signature of a traced computation: equal for two traces exactly when one can run in the place of the other. */
import { reachableNodes, type Tensor } from '../graph/index.ts'
import { Parameter } from '../nn/index.ts'

const objectIds = new WeakMap<object, number>()
let nextObjectId = 0

function objectId(object: object): number {
  let id = objectIds.get(object)
  if (id === undefined) objectIds.set(object, (id = nextObjectId++))
  return id
}

/** Where a constant's values lie: aliases of a parameter are the same constant, new values are another. */
function constantId(weight: object): string {
  if (!(weight instanceof Parameter && weight.hasValue)) return `object ${objectId(weight)}`
  if (weight.isPending) return `object ${objectId(weight)}`
  const { source } = weight
  if (source.kind === 'file') return `${source.path}:${source.offset}:${source.byteLength}`
  return `memory ${objectId(source.bytes.buffer)}:${source.bytes.byteOffset}:${source.bytes.byteLength}`
}

/** Describes everything that `named` are computed by: operators, attributes, and where constants lie. */
export function signatureOf(named: Readonly<Record<string, Tensor>>): string {
  const outputs = Object.values(named)
  const nodes = reachableNodes(outputs)
  const numbers = new Map(nodes.map((node, i) => [node, i]))
  const refer = ({ node, index }: Tensor) => `${numbers.get(node)}.${index}`
  const lines = nodes.map(({ op, inputs, attributes }) => {
    const described = JSON.stringify(attributes, (key, value) => {
      // JSON would write the infinities and NaN alike, and -0 as 0.
      if (typeof value === 'number')
        return Object.is(value, -0) || !Number.isFinite(value) ? `${1 / value}${value}` : value
      if (key === 'weight') return constantId(value)
      return ArrayBuffer.isView(value) ? Array.from(value as unknown as ArrayLike<number>) : value
    })
    return `${op}(${inputs.map(refer)})${described}`
  })
  return [...lines, outputs.map(refer)].join('\n')
}
