/** @file Engines: what they check, how they fail and go on, and that they stay out of the program's way. */
import { spawn } from 'node:child_process'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import * as g from '../graph/index.ts'
import { defaultEngine, Engine, floats, NodeBackend, tensorData } from './index.ts'
import { evaluate, numbers, randomData } from './testing/run.ts'

const engine = await defaultEngine()

describe('feeds', () => {
  const graph = new g.Graph()
  const mask = graph.input('mask', 'float32', ['batch', 'now+past'])
  const past = graph.input('past', 'float32', ['batch', 'past', 2])
  const ids = graph.input('ids', 'int64', ['batch', 'now'])
  const total = g.add(g.add(g.sum(mask), g.sum(past)), g.cast(g.sum(ids), 'float32'))
  const fits = {
    mask: tensorData('float32', [[1, 1, 1]]),
    past: tensorData('float32', [[[1, 1]]]),
    ids: tensorData('int64', [[5, 6]]),
  }

  it('may come in any order, declare sums, and be more than is read', async () => {
    const executable = await engine.compile({ total })
    const { total: found } = await executable.run({ unread: tensorData('float32', 1), ...fits })
    expect(numbers(found)).toEqual([16])
    expect(executable.inputs.map(input => input.name)).toEqual(['mask', 'past', 'ids'])
    await executable.dispose()
  })

  it.each<[string, object, string]>([
    ['a missing one', { ids: undefined }, 'The input "ids" (int64[batch, now]) is missing'],
    [
      'another element type',
      { ids: tensorData('int32', [[5, 6]]) },
      '"ids" must be int64[batch, now], got int32[1, 2]',
    ],
    ['another number of axes', { ids: tensorData('int64', [5, 6]) }, '"ids" must be int64[batch, now], got int64[2]'],
    [
      'another length of a named axis',
      {
        ids: tensorData('int64', [
          [5, 6],
          [7, 8],
        ]),
      },
      '"ids" must be int64[batch, now] with batch = 1, got int64[2, 2]',
    ],
    [
      'a sum that does not add up',
      { mask: tensorData('float32', [[1, 1]]) },
      '"mask" must be float32[batch, now+past] with now+past = 3, got float32[1, 2]',
    ],
    [
      'another length of a fixed axis',
      { past: tensorData('float32', [[[1, 1, 1]]]) },
      '"past" must be float32[batch, past, 2] with 2 = 2, got float32[1, 1, 3]',
    ],
  ])('are refused: %s', async (_, changed, message) => {
    await using executable = await engine.compile({ total })
    await expect(executable.run({ ...fits, ...changed })).rejects.toThrow(message)
  })

  it('check a sum of which no part is known against itself only', async () => {
    const other = graph.input('other', 'float32', ['now+past'])
    await using executable = await engine.compile({ y: g.add(g.sum(g.mul(mask, other)), 0) })
    const run = (length: number) =>
      executable.run({ mask: randomData([2, 3], 1), other: randomData([length], 2) }).then(({ y }) => y.dims)
    expect(await run(3)).toEqual([])
    await expect(run(4)).rejects.toThrow('"other" must be float32[now+past] with now+past = 3, got float32[4]')
  })

  it('may be views into larger buffers', async () => {
    const x = new g.Graph().input('x', 'float32', [2])
    const view = new Float32Array([9, 1, 2, 9]).subarray(1, 3)
    const { y } = await evaluate({ y: g.neg(x) }, { x: tensorData('float32', view) })
    expect(numbers(y)).toEqual([-1, -2])
    expect([...view]).toEqual([1, 2])
  })

  it('that cannot be sent to the engine are refused without leaving anything behind', async () => {
    const x = new g.Graph().input('x', 'float32', [2])
    const executable = await engine.compile({ y: g.neg(x) })
    const data = new Float32Array(2)
    structuredClone(data, { transfer: [data.buffer] })
    const gone = { dtype: 'float32' as const, dims: [2], data }
    await expect(executable.run({ x: gone })).rejects.toThrow()
    expect(numbers((await executable.run({ x: tensorData('float32', [1, 2]) })).y)).toEqual([-1, -2])
    await executable.dispose()
  })
})

describe('values', () => {
  it.each(['float32', 'float64', 'int64', 'int32', 'uint8', 'int8', 'bool'] as const)(
    'of %s go in and come out',
    async dtype => {
      const x = new g.Graph().input('x', dtype, ['n'])
      const data = tensorData(dtype, [1, 0, 1])
      expect((await evaluate({ y: g.reshape(x, [1, 'n']) }, { x: data })).y).toEqual({ ...data, dims: [1, 3] })
    },
  )

  it('without elements go in and come out', async () => {
    const x = new g.Graph().input('x', 'float32', ['n', 2])
    const { y } = await evaluate({ y: g.add(x, 1) }, { x: tensorData('float32', [], [0, 2]) })
    expect(y).toEqual({ dtype: 'float32', dims: [0, 2], data: new Float32Array(0) })
  })
})

describe('tensorData', () => {
  it('takes nested arrays, numbers and typed arrays', () => {
    expect(
      tensorData('int64', [
        [1, 2],
        [3, 4],
      ]),
    ).toEqual({ dtype: 'int64', dims: [2, 2], data: new BigInt64Array([1n, 2n, 3n, 4n]) }) // prettier-ignore
    expect(tensorData('float32', 2)).toEqual({ dtype: 'float32', dims: [], data: new Float32Array([2]) })
    expect(tensorData('bool', [true, false]).data).toEqual(new Uint8Array([1, 0]))
    expect(tensorData('float32', new Float32Array(6), [2, 3]).dims).toEqual([2, 3])
  })

  it('refuses what does not fit', () => {
    expect(() => tensorData('float32', [1, 2, 3], [2])).toThrow('A tensor of shape [2] takes 2 values, got 3')
    expect(() => tensorData('float32', [[1, 2], [3]])).toThrow('A tensor of shape [2, 2] takes 4 values, got 3')
    expect(() => tensorData('int64', new Int32Array(1))).toThrow(
      'A int64 tensor takes a BigInt64Array, got a Int32Array',
    )
    expect(() => floats(tensorData('int32', [1]))).toThrow('Expected a float32 tensor, got int32')
  })
})

describe('a run', () => {
  const graph = new g.Graph()
  const x = graph.input('x', 'float32', ['n', 'n'])
  let heavy: g.Tensor = x
  for (let i = 0; i < 12; i++) heavy = g.matmul(heavy, x)
  const outputs = { y: g.sum(heavy) }
  const data = randomData([600, 600], 1, -0.01, 0.01)

  it('leaves the event loop free', async () => {
    await using executable = await engine.compile(outputs)
    await executable.run({ x: data })
    let ticks = 0
    const timer = setInterval(() => ticks++, 1)
    const start = performance.now()
    await executable.run({ x: data })
    const time = performance.now() - start
    clearInterval(timer)
    expect(time).toBeGreaterThan(10)
    expect(ticks).toBeGreaterThan(4)
  })

  it('does not start once its signal is aborted, and tells the reason', async () => {
    await using executable = await engine.compile(outputs)
    await expect(executable.run({ x: data }, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow(
      'enough',
    )
    const live = new AbortController().signal
    expect((await executable.run({ x: randomData([2, 2], 1) }, { signal: live })).y.dims).toEqual([])
  })

  it('queues behind others and gets its own result', async () => {
    const input = new g.Graph().input('x', 'float32', [])
    await using executable = await engine.compile({ y: g.mul(input, 2) })
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, i) => executable.run({ x: tensorData('float32', i) })),
    )
    expect(results.map(({ y }) => y.data[0])).toEqual(Array.from({ length: 20 }, (_, i) => 2 * i))
  })
})

describe('failures', () => {
  it('inside ONNX Runtime reach the caller, and the engine goes on', async () => {
    const graph = new g.Graph()
    const table = graph.input('table', 'float32', [3, 2])
    const ids = graph.input('ids', 'int64', ['n'])
    await using executable = await engine.compile({ y: g.gather(table, ids) })
    const run = (...values: number[]) =>
      executable.run({ table: randomData([3, 2], 1), ids: tensorData('int64', values) })
    await expect(run(0, 7)).rejects.toThrow(/ONNX Runtime: .*indices element out of data bounds, idx=7/)
    expect((await run(0, 2)).y.dims).toEqual([2, 2])
  })

  it('of a model that ONNX Runtime refuses come from compile', async () => {
    const x = new g.Graph().input('x', 'bool', [2])
    await expect(engine.compile({ y: g.exp(x) })).rejects.toThrow(/ONNX Runtime: .*bool/)
  })

  it('come from runs after dispose, which may be called twice', async () => {
    const x = new g.Graph().input('x', 'float32', [1])
    const executable = await engine.compile({ y: g.neg(x) })
    await executable.dispose()
    await executable.dispose()
    await expect(executable.run({ x: tensorData('float32', [1]) })).rejects.toThrow('This computation was disposed')
  })

  it('do not come from runs that were asked for before dispose', async () => {
    const x = new g.Graph().input('x', 'float32', [1])
    const executable = await engine.compile({ y: g.neg(x) })
    const running = executable.run({ x: tensorData('float32', [2]) })
    await executable.dispose()
    expect(numbers((await running).y)).toEqual([-2])
  })

  it('come from runs that an engine was disposed under, and from later ones', async () => {
    const own = new Engine(new NodeBackend())
    const x = new g.Graph().input('x', 'float32', ['n', 'n'])
    const executable = await own.compile({ y: g.sum(g.matmul(x, x)) })
    const running = executable.run({ x: randomData([300, 300], 1) })
    const ended = expect(running).rejects.toThrow('The engine was disposed before it answered')
    await own.dispose()
    await ended
    await expect(executable.run({ x: randomData([2, 2], 1) })).rejects.toThrow('This computation was disposed')
    await executable.dispose()
    await own.dispose()
  })

  it('of one thread do not end the calls of the next', async () => {
    const own = new Engine(new NodeBackend())
    const x = new g.Graph().input('x', 'float32', [1])
    await own.compile({ y: g.neg(x) })
    const disposing = own.dispose()
    const next = await own.compile({ y: g.neg(x) })
    await disposing
    expect(numbers((await next.run({ x: tensorData('float32', [3]) })).y)).toEqual([-3])
    await own.dispose()
  })
})

describe('options of compile', () => {
  it('change no number', async () => {
    const graph = new g.Graph()
    const x = graph.input('x', 'float32', [4, 8])
    const weight = graph.constant([...randomData([64], 2).data], 'float32', [8, 8])
    const outputs = { y: g.gelu(g.linear(x, weight)) }
    const feeds = { x: randomData([4, 8], 3) }
    const results: number[][] = []
    for (const options of [{}, { mode: 'small' as const }, { threads: 1 }]) {
      await using executable = await engine.compile(outputs, options)
      results.push(numbers((await executable.run(feeds)).y))
    }
    for (const result of results) result.forEach((value, i) => void expect(value).toBeCloseTo(results[0][i], 5))
  })
})

describe('an idle engine', () => {
  it('lets the process end by itself', async () => {
    const root = resolve(fileURLToPath(import.meta.url), '../../..')
    const script = fileURLToPath(new URL('./testing/idle.ts', import.meta.url))
    const child = spawn(process.execPath, ['--import', 'tsx', script], { cwd: root })
    let [out, errors] = ['', '']
    child.stdout.on('data', chunk => (out += chunk))
    child.stderr.on('data', chunk => (errors += chunk))
    const timer = setTimeout(() => child.kill('SIGKILL'), 15_000)
    const code = await new Promise(done => child.on('close', done))
    clearTimeout(timer)
    expect({ code, out, errors }).toEqual({ code: 0, out: '-1 -2\n', errors: '' })
  })
})
