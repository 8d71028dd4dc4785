/** @file The float32 copy of a checkpoint: right values, made once, made again when its source changes. */
import { mkdir, mkdtemp, readdir, rm, stat, truncate, utimes } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { fromFloat32 } from './cast.ts'
import { Checkpoint } from './checkpoint.ts'
import { convertedToFloat32 } from './convert.ts'
import { SafetensorsFile } from './file.ts'
import type { TensorReader } from './reader.ts'
import { saveFile } from './save.ts'
import type { TensorEntry } from './serialize.ts'

let folder: string
let cacheDir: string
let path: string
const opened: TensorReader[] = []

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'peft-ts-convert-'))
  cacheDir = join(folder, 'cache')
  path = join(folder, 'model', 'model.safetensors')
})
afterEach(async () => {
  await Promise.all(opened.splice(0).map(reader => reader.close()))
  await rm(folder, { recursive: true, force: true })
})

const VALUES = Float32Array.of(1, -0.5, 0, 2)
const FLOATS = ['F16', 'BF16', 'F8_E4M3', 'F8_E5M2', 'F64', 'F32'] as const

const floatEntries = (): TensorEntry[] =>
  FLOATS.map(dtype => ({ name: dtype, dtype, shape: [2, 2], bytes: fromFloat32(dtype, VALUES) }))

async function open(): Promise<Checkpoint> {
  const checkpoint = await Checkpoint.open(join(folder, 'model'))
  opened.push(checkpoint)
  return checkpoint
}

async function convert(): Promise<SafetensorsFile | Checkpoint> {
  const converted = await convertedToFloat32(await open(), { cacheDir })
  opened.push(converted)
  return converted
}

const copies = () => readdir(join(cacheDir, 'converted'))

describe('conversion to float32', () => {
  it('gives every float tensor in float32, and integers as they are', async () => {
    const steps = { name: 'steps', dtype: 'I64', shape: [1], bytes: BigInt64Array.of(7n) } as const
    await saveFile(path, [...floatEntries(), steps], { format: 'pt' })
    const converted = await convert()
    expect(converted).toBeInstanceOf(SafetensorsFile)
    expect(converted.metadata?.format).toBe('pt')
    for (const dtype of FLOATS) {
      expect(converted.info(dtype)).toMatchObject({ dtype: 'F32', shape: [2, 2] })
      expect(await converted.readFloat32(dtype)).toEqual(VALUES)
    }
    expect(converted.info('steps').dtype).toBe('I64')
    expect([...(await converted.readFloat32('steps'))]).toEqual([7])
  })

  it('converts a tensor larger than one piece', async () => {
    const bits = Uint16Array.from({ length: 5_000_000 }, (_, i) => i % 0x7c00)
    await saveFile(path, [{ name: 'w', dtype: 'BF16', shape: [bits.length], bytes: bits }])
    const converted = await convert()
    const got = new Uint32Array((await converted.read('w')).buffer)
    expect(got.length).toBe(bits.length)
    expect(got.every((value, i) => value === bits[i] << 16)).toBe(true)
  })

  it('returns a checkpoint without such tensors as it is, and writes nothing', async () => {
    await saveFile(path, [{ name: 'w', dtype: 'F32', shape: [4], bytes: VALUES }])
    const checkpoint = await open()
    expect(await convertedToFloat32(checkpoint, { cacheDir })).toBe(checkpoint)
    await expect(stat(cacheDir)).rejects.toThrow('ENOENT')
  })
})

describe('the cache', () => {
  it('is used by the next call', async () => {
    await saveFile(path, floatEntries())
    const first = await convert()
    const written = await stat(first.paths[0], { bigint: true })
    const second = await convert()
    expect(second.paths).toEqual(first.paths)
    expect((await stat(second.paths[0], { bigint: true })).ino).toBe(written.ino)
    expect(await copies()).toHaveLength(1)
  })

  it('is made anew when the checkpoint changes', async () => {
    await saveFile(path, floatEntries())
    await convert()
    await saveFile(path, [{ name: 'w', dtype: 'F16', shape: [1], bytes: Uint16Array.of(0x4000) }])
    await utimes(path, new Date(), new Date(Date.now() + 5000))
    expect([...(await (await convert()).readFloat32('w'))]).toEqual([2])
    expect(await copies()).toHaveLength(2)
  })

  it('is repaired when its file is damaged', async () => {
    await saveFile(path, floatEntries())
    const first = await convert()
    await truncate(first.paths[0], 50)
    expect(await (await convert()).readFloat32('BF16')).toEqual(VALUES)
  })

  it('holds no part of a file after a conversion that failed', async () => {
    await saveFile(path, floatEntries())
    const checkpoint = await open()
    await checkpoint.close()
    await expect(convertedToFloat32(checkpoint, { cacheDir })).rejects.toThrow(/closed.*Nothing was changed on disk/)
    expect(await copies()).toEqual([])
  })

  it('lies in PEFT_TS_CACHE unless a folder is given', async () => {
    await mkdir(join(folder, 'elsewhere'))
    vi.stubEnv('PEFT_TS_CACHE', join(folder, 'elsewhere'))
    try {
      await saveFile(path, floatEntries())
      const converted = await convertedToFloat32(await open())
      opened.push(converted)
      expect(await readdir(join(folder, 'elsewhere', 'converted'))).toHaveLength(1)
    } finally {
      vi.unstubAllEnvs()
    }
  })
})
