/** @file Weights of a graph: mapped from files wherever they lie, or out of memory. */
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as g from '../../graph/index.ts'
import { Parameter } from '../../nn/index.ts'
import { SafetensorsFile, saveFile } from '../../weights/index.ts'
import { defaultEngine } from '../index.ts'
import { evaluate, Feeder, numbers, randomData } from '../testing/run.ts'
import { placeWeights } from './weights.ts'

let folder = ''
beforeAll(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), 'weights-')))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const values = { first: randomData([2, 3], 1), second: randomData([3, 3], 2) }

async function save(path: string): Promise<void> {
  await saveFile(path, [
    { name: 'first', dtype: 'F32', shape: [2, 3], bytes: values.first.data },
    { name: 'second', dtype: 'F32', shape: [3, 3], bytes: values.second.data },
  ])
}

/** Parameters whose values stand in a file. */
async function parametersFrom(path: string): Promise<Record<'first' | 'second', Parameter>> {
  await using file = await SafetensorsFile.open(path)
  const parameter = (name: string, shape: number[]) => {
    const result = new Parameter(shape)
    result.name = name
    result.source = file.source(name)
    return result
  }
  return { first: parameter('first', [2, 3]), second: parameter('second', [3, 3]) }
}

async function check(path: string): Promise<void> {
  const { first, second } = await parametersFrom(path)
  const expected = { first: numbers(values.first), second: numbers(values.second) }
  for (const mode of ['fast', 'small'] as const) {
    const graph = new g.Graph()
    const outputs = { first: g.reshape(first.trace(graph), [6]), second: g.reshape(second.trace(graph), [9]) }
    await using executable = await (await defaultEngine()).compile(outputs, { mode })
    const found = await executable.run({})
    expect({ first: numbers(found.first), second: numbers(found.second) }).toEqual(expected)
  }
  expect(first.isLoaded).toBe(false)
}

describe('weights in files', () => {
  it.each(['model.safetensors', 'with space/a model.safetensors', 'Größe 模型 🙂/märchen.safetensors'])(
    'are read from %s',
    async name => {
      const path = join(folder, name)
      await mkdir(join(path, '..'), { recursive: true })
      await save(path)
      await check(path)
    },
  )

  it('are read through links, to files and to folders', async () => {
    await mkdir(join(folder, 'blobs'))
    await save(join(folder, 'blobs', 'abc'))
    await mkdir(join(folder, 'snapshot'))
    await symlink('../blobs/abc', join(folder, 'snapshot', 'model.safetensors'))
    await check(join(folder, 'snapshot', 'model.safetensors'))
    await symlink(join(folder, 'snapshot'), join(folder, 'linked'))
    await check(join(folder, 'linked', 'model.safetensors'))
  })

  it('stand beside weights in memory', async () => {
    const path = join(folder, 'mixed.safetensors')
    await save(path)
    const { second } = await parametersFrom(path)
    const memory = Parameter.from([1, 0, 0], [1, 3])
    const y = new g.Graph().trace(() => g.matmul(memory, second))
    expect(numbers((await evaluate({ y })).y)).toEqual(numbers(values.second).slice(0, 3))
  })

  it('that are gone or too short are an error that reaches the caller', async () => {
    const path = join(folder, 'short.safetensors')
    await save(path)
    const { second } = await parametersFrom(path)
    await writeFile(path, 'x')
    const compile = () => evaluate({ y: g.neg(second.trace(new g.Graph())) })
    await expect(compile()).rejects.toThrow(/short\.safetensors were cut off: the file has 1 bytes and had \d+ or more/)
    await rm(path)
    await expect(compile()).rejects.toThrow(/short\.safetensors cannot be read any more: it was moved or deleted/)
  })
})

describe('weights in memory', () => {
  it('are views that need not start at the beginning of their buffer', async () => {
    const buffer = new Float32Array([9, 9, 1, 2, 3])
    const weight = Parameter.from(buffer.subarray(2), [3])
    expect(numbers((await evaluate({ y: g.neg(weight.trace(new g.Graph())) })).y)).toEqual([-1, -2, -3])
  })

  it('are taken as they are when the graph is compiled', async () => {
    const weight = Parameter.from([1, 2], [2])
    const y = g.neg(weight.trace(new g.Graph()))
    expect(numbers((await evaluate({ y })).y)).toEqual([-1, -2])
    weight.data = new Float32Array([3, 4])
    expect(numbers((await evaluate({ y })).y)).toEqual([-3, -4])
  })

  it('give way to what a parameter was bound to', async () => {
    const feeder = new Feeder()
    const weight = Parameter.from([1, 2], [2])
    feeder.graph.bind(weight, feeder.values('fed', 'float32', [5, 6]))
    expect(numbers((await evaluate({ y: g.neg(weight.trace(feeder.graph)) }, feeder.feeds)).y)).toEqual([-5, -6])
  })

  it('must exist, and have the element type that the graph expects', () => {
    const empty = new Parameter([2])
    empty.name = 'decoder.weight'
    expect(() => placeWeights([{ name: 'w', weight: empty }])).toThrow('The parameter "decoder.weight" has no values')
    const half = new Parameter([1])
    half.source = { kind: 'memory', dtype: 'BF16', shape: [1], bytes: new Uint8Array(2) }
    expect(() => placeWeights([{ name: 'w', weight: half }])).toThrow(
      'The weight "w" is BF16 where float32 is expected',
    )
  })
})
