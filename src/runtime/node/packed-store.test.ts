/** @file Packed models on disk: made once, found again, complete or not there. */
import { existsSync } from 'node:fs'
import { readdir, truncate, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { temporaryFolder } from '../../../test/temporary.ts'
import * as g from '../../graph/index.ts'
import { Parameter } from '../../nn/index.ts'
import type { OnnxTensor } from '../../onnx/index.ts'
import { SafetensorsFile, saveFile } from '../../weights/index.ts'
import { Engine, NodeBackend } from '../index.ts'
import { numbers, randomData } from '../testing/run.ts'
import { PackedStore, packedFolder } from './packed-store.ts'

const BIG = 100e6

/** A weight of which the model says that it is so long, in a file that need not be. */
async function setUp(length = BIG) {
  const root = await temporaryFolder({ 'weights.bin': 'x' })
  const folder = join(root, 'packed')
  const weights: OnnxTensor[] = [
    { name: 'w', dtype: 'float32', dims: [length / 4], external: { location: 'weights.bin', offset: 0, length } },
  ]
  let packed = 0
  const find = (model = 'model', store = new PackedStore(folder)) =>
    store.path(new TextEncoder().encode(model), weights, {
      folder: root,
      pack: async (path, name) => {
        packed++
        await writeFile(path, model)
        await writeFile(join(path, '..', name), 'packed')
      },
    })
  return { root, folder, weights, find, count: () => packed }
}

describe('packed models', () => {
  it('are made once, and again when model or weights have changed', async () => {
    const { root, find, count } = await setUp()
    const first = await find()
    expect(await find()).toBe(first)
    expect(count()).toBe(1)
    expect(await find('another')).not.toBe(first)
    await writeFile(join(root, 'weights.bin'), 'longer')
    expect(await find()).not.toBe(first)
    expect(count()).toBe(3)
  })

  it('are made again when they are not whole, and leave nothing behind when making them fails', async () => {
    const { root, folder, weights, find, count } = await setUp()
    const path = (await find())!
    await truncate(path, 1)
    // What was half written would stand in the way of a rename.
    expect(await find()).toBe(path)
    expect(count()).toBe(2)
    const onProblem = vi.fn()
    const pack = async (target: string) => {
      await writeFile(target, 'half')
      throw new Error('no space left on device')
    }
    const bytes = new TextEncoder().encode('other')
    expect(await new PackedStore(folder).path(bytes, weights, { folder: root, pack, onProblem })).toBeUndefined()
    expect(onProblem).toHaveBeenCalledWith(expect.stringContaining('no space left on device'))
    expect(await readdir(folder)).toHaveLength(1)
  })

  it('of small models are not kept', async () => {
    const { find, count, folder } = await setUp(1e6)
    expect(await find()).toBeUndefined()
    expect(count()).toBe(0)
    expect(existsSync(folder)).toBe(false)
  })

  it('that were used longest ago leave when the store is full', async () => {
    const { find } = await setUp()
    const [first, second] = [(await find('one'))!, (await find('two'))!]
    for (const [i, path] of [second, first].entries()) {
      await utimes(join(path, '..', 'sizes.json'), new Date(1e12 + i * 1e6), new Date(1e12 + i * 1e6))
    }
    await find('three', new PackedStore(join(first, '..', '..'), 3 * BIG + 10))
    expect([first, second].map(path => existsSync(path))).toEqual([true, false])
  })

  it('lie where the environment says', () => {
    expect(packedFolder({ PEFT_TS_CACHE: '/c' })).toBe(join('/c', 'packed'))
    expect(packedFolder({ XDG_CACHE_HOME: '/x' })).toBe(join('/x', 'peft-ts', 'packed'))
  })
})

describe('an engine that keeps packed weights', () => {
  it('gives the same bits when it packs, when it maps them, and without them', async () => {
    const folder = await temporaryFolder({})
    vi.stubEnv('PEFT_TS_CACHE', join(folder, 'cache'))
    try {
      const [rows, width] = [4200, 4000]
      const path = join(folder, 'model.safetensors')
      await saveFile(path, [
        { name: 'w', dtype: 'F32', shape: [rows, width], bytes: randomData([rows, width], 1).data },
      ])
      const results: number[][] = []
      for (const keepPacked of [false, true, true]) {
        await using file = await SafetensorsFile.open(path)
        await using engine = new Engine(new NodeBackend())
        const weight = new Parameter([rows, width])
        weight.source = file.source('w')
        const graph = new g.Graph()
        const y = g.linear(graph.input('x', 'float32', ['n', width]), weight)
        const executable = await engine.compile({ y }, { keepPacked })
        results.push(numbers((await executable.run({ x: randomData([2, width], 2) })).y).slice(0, 50))
      }
      expect(results[1]).toEqual(results[0])
      expect(results[2]).toEqual(results[0])
      expect(await readdir(join(folder, 'cache/packed'))).toHaveLength(1)
    } finally {
      vi.unstubAllEnvs()
    }
  })
})
