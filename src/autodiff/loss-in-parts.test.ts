/** @file The loss over a large vocabulary in parts of its rows: the same loss and gradients as in one piece. */
import { describe, expect, it } from 'vitest'
import * as g from '../graph/index.ts'
import type { TensorData } from '../runtime/index.ts'
import { evaluate, Feeder, largestDifference, numbers } from '../runtime/testing/run.ts'
import { gradients, lossInParts } from './index.ts'

const CLASSES = 40
const HIDDEN = 6

/** A head on hidden states, the parameters that train, and the labels of its rows. */
interface Setting {
  labels: readonly number[]
  /** Gives the logits of rows; `t` makes a trainable matrix or vector. */
  head(x: g.Tensor, t: (...shape: number[]) => g.Tensor): g.Tensor
  /** Whether the body below the head trains. */
  isBodyTrained?: boolean
  reduction?: 'mean' | 'sum'
}

/** The loss and all gradients, in one piece or in parts of 4 rows; and how many products a vocabulary wide there are. */
async function compute({ labels, head, isBodyTrained = true, reduction }: Setting, inParts: boolean) {
  const feeder = new Feeder({ rows: labels.length })
  const { graph } = feeder
  const body = feeder.random('body', [3, HIDDEN])
  const wrt = isBodyTrained ? [body] : []
  const x = g.tanh(g.matmul(feeder.random('x', ['rows', 3]), body))
  const trainable = (...shape: number[]) => {
    const tensor = feeder.random(`parameter${wrt.length}`, shape)
    wrt.push(tensor)
    return tensor
  }
  const targets = feeder.values('labels', 'int64', BigInt64Array.from(labels, BigInt), ['rows'])
  const loss = g.mul(g.crossEntropy(head(x, trainable), targets, { reduction }), 3)
  const parted = inParts ? lossInParts([loss], wrt, { classes: CLASSES, rows: 4, parts: 3 }) : undefined
  const [final] = parted?.outputs ?? [loss]
  const found = gradients(
    final,
    wrt.map(tensor => parted?.map(tensor) ?? tensor),
  )
  const outputs: Record<string, g.Tensor> = { loss: final }
  found.forEach((gradient, i) => {
    outputs[`gradient${i}`] = gradient
  })
  const results = await evaluate(outputs, feeder.feeds)
  const ops = g.reachableNodes(Object.values(outputs)).map(node => node.op)
  expect(graph.inputs.size).toBeGreaterThan(1)
  return { results, isInParts: ops.includes('RowPart') }
}

function compare(a: Record<string, TensorData>, b: Record<string, TensorData>): void {
  for (const name of Object.keys(a)) {
    const expected = numbers(a[name])
    const size = Math.max(1, ...expected.map(Math.abs))
    expect(largestDifference(numbers(b[name]), expected) / size, name).toBeLessThan(1e-6)
  }
}

async function check(setting: Setting): Promise<void> {
  const whole = await compute(setting, false)
  const parts = await compute(setting, true)
  expect([whole.isInParts, parts.isInParts]).toEqual([false, true])
  compare(whole.results, parts.results)
}

const matrix = Array.from({ length: CLASSES * HIDDEN }, (_, i) => Math.sin(7 * i))
const table = ({ graph }: g.Tensor) => g.reshape(graph.constant(matrix, 'float32'), [CLASSES, HIDDEN])
const frozen = (x: g.Tensor) => g.linear(x, table(x))
const some = [3, -100, 39, 0, 7, -100, 8, 12, 3, -100, 39]

describe('a loss in parts', () => {
  it.each([
    ['of as many rows as fit', some],
    ['of more rows than the parts were meant for', Array.from({ length: 31 }, (_, i) => (i % 5 ? i : -100))],
    ['of one row', [5]],
    ['of rows that do not count', [-100, -100, -100]],
    ['of no rows', []],
  ])('equals the whole: %s', async (_, labels) => {
    await check({ labels, head: frozen })
  })

  it.each<[string, Omit<Setting, 'labels'>]>([
    ['a sum', { head: frozen, reduction: 'sum' }],
    ['a trained head with a bias', { head: (x, t) => g.linear(x, t(CLASSES, HIDDEN), t(CLASSES)) }],
    ['a trained head alone', { head: (x, t) => g.linear(x, t(CLASSES, HIDDEN)), isBodyTrained: false }],
    ['LoRA on the head', { head: (x, t) => g.add(frozen(x), g.linear(g.linear(x, t(2, HIDDEN)), t(CLASSES, 2))) }],
    ['bounded logits', { head: x => g.mul(g.tanh(g.mul(frozen(x), 1 / 3)), 3) }],
    ['a head that stores its weight transposed', { head: (x, t) => g.linear(x, t(HIDDEN, CLASSES), undefined, true) }],
    ['a matrix product', { head: (x, t) => g.matmul(x, t(HIDDEN, CLASSES)) }],
  ])('equals the whole: %s', async (_, setting) => {
    await check({ ...setting, labels: some })
    await check({ ...setting, labels: [-100, -100] })
  })

  it('equals the whole where the matrix of the head is that of the look-up', async () => {
    const results = []
    for (const inParts of [false, true]) {
      const feeder = new Feeder({ rows: some.length })
      const embeddings = feeder.random('embeddings', [CLASSES, HIDDEN])
      const tokens = feeder.values(
        'tokens',
        'int64',
        BigInt64Array.from(some, (_, i) => BigInt(i)),
        ['rows'],
      )
      const labels = feeder.values('labels', 'int64', BigInt64Array.from(some, BigInt), ['rows'])
      const loss = g.crossEntropy(g.linear(g.gather(embeddings, tokens), embeddings), labels)
      const parted = inParts ? lossInParts([loss], [embeddings], { classes: 2, rows: 2 }) : undefined
      const [final] = parted?.outputs ?? [loss]
      const [gradient] = gradients(final, [parted?.map(embeddings) ?? embeddings])
      results.push(await evaluate({ final, gradient }, feeder.feeds))
    }
    compare(results[0], results[1])
  })

  it('leaves alone what is small, what is read elsewhere, and losses that are not summed up', () => {
    const graph = new g.Graph()
    const x = graph.input('x', 'float32', ['rows', HIDDEN])
    const labels = graph.input('labels', 'int64', ['rows'])
    const logits = frozen(x)
    const opsOf = (outputs: g.Tensor[], classes = CLASSES) =>
      g.reachableNodes(lossInParts(outputs, [x], { classes }).outputs).map(node => node.op)
    const loss = g.crossEntropy(logits, labels)
    expect(opsOf([loss])).toContain('RowPart')
    expect(opsOf([loss], CLASSES + 1)).not.toContain('RowPart')
    expect(opsOf([loss, logits])).not.toContain('RowPart')
    expect(opsOf([g.max(g.crossEntropy(logits, labels, { reduction: 'none' }))])).not.toContain('RowPart')
  })

  it('never holds the logits as a whole, nor those of two parts', () => {
    const graph = new g.Graph()
    const x = graph.input('x', 'float32', ['rows', HIDDEN])
    const labels = graph.input('labels', 'int64', ['rows'])
    const weight = graph.input('weight', 'float32', [1000, HIDDEN])
    for (const trained of [[x], [x, weight]]) {
      const loss = g.crossEntropy(g.linear(x, weight), labels)
      const parted = lossInParts([loss], trained, { classes: 1000, rows: 8, parts: 8 })
      const found = gradients(
        parted.outputs[0],
        trained.map(tensor => parted.map(tensor)!),
      )
      const outputs = Object.fromEntries([parted.outputs[0], ...found].map((tensor, i) => [`y${i}`, tensor]))
      const { peak } = g.planMemory(g.lowerToOnnx(outputs), { rows: 64 })
      const part = 8 * 1000 * 4
      const sums = trained.length > 1 ? 2 * 1000 * HIDDEN * 4 : 0
      expect(peak).toBeLessThan(2.5 * part + sums)
      expect(peak).toBeGreaterThan(part)
    }
  })
})
