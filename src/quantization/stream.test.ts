/** @file Quantising tensors of a checkpoint piece by piece: what packing at once gives, and what is refused. */
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { Checkpoint, fromFloat32, serializeSafetensors } from '../weights/index.ts'
import { doubleQuantized, packValues, QuantizedFile, quantizedEntry, unpackValues } from './index.ts'

// More than one piece.
const base = { rows: 600, columns: 512, symmetric: true, transposed: false } as const
const values = Float32Array.from({ length: 600 * 512 }, (_, i) => Math.sin(i) * (1 + (i % 977) / 100))

async function open(shape: number[], data: Float32Array) {
  const bytes = fromFloat32('BF16', data)
  const folder = await temporaryFolder({
    'model.safetensors': serializeSafetensors([{ name: 'w', dtype: 'BF16', shape, bytes }]),
  })
  return { checkpoint: await Checkpoint.open(folder), path: join(folder, 'packed.safetensors') }
}

describe('quantising in pieces', () => {
  it.each([
    ['int8', { scheme: 'int8', blockSize: 32 }, {}],
    ['int8 with a scale a row', { scheme: 'int8', blockSize: 128 }, { perRow: true }],
    ['asymmetric int4', { scheme: 'int4', blockSize: 32, symmetric: false }, {}],
    ['nf4 with double quantisation', { scheme: 'nf4', blockSize: 64 }, { doubleQuant: true }],
  ] as const)('gives what packing at once gives: %s', async (_, change, options) => {
    const layout = { ...base, ...change }
    const { checkpoint, path } = await open([600, 512], values)
    await using _close = checkpoint
    const file = await QuantizedFile.write(path, [quantizedEntry(checkpoint, 'w', { layout, ...options })], [])
    const parts = packValues(await checkpoint.readFloat32('w'), layout, { perRow: 'perRow' in options })
    const scales = 'doubleQuant' in options ? doubleQuantized(parts.scales) : parts.scales
    const [read, expected] = [await file.tensor('w', false).read(), unpackValues({ ...parts, scales }, layout)]
    expect(read.length).toBe(expected.length)
    expect(read.findIndex((value, i) => value !== expected[i])).toBe(-1)
  })

  it('turns round what is stored the other way', async () => {
    const layout = { ...base, scheme: 'int8', rows: 4, columns: 32, blockSize: 32, transposed: true } as const
    const { checkpoint, path } = await open([32, 4], values.slice(0, 128))
    await using _close = checkpoint
    const file = await QuantizedFile.write(path, [quantizedEntry(checkpoint, 'w', { layout })], [])
    const [read, original] = [await file.tensor('w', true).read(), await checkpoint.readFloat32('w')]
    for (const [i, value] of original.entries()) expect(Math.abs(read[i] - value)).toBeLessThan(0.05)
  })

  it.each([Number.NaN, Infinity])('refuses %s, and leaves no file', async bad => {
    const layout = { ...base, scheme: 'int8', rows: 1, columns: 32, blockSize: 32 } as const
    const data = new Float32Array(32)
    data[7] = bad
    const { checkpoint, path } = await open([1, 32], data)
    await using _close = checkpoint
    const writing = QuantizedFile.write(path, [quantizedEntry(checkpoint, 'w', { layout })], [])
    await expect(writing).rejects.toThrow('"w" holds NaN or infinity')
    expect(await QuantizedFile.open(path)).toBeUndefined()
  })
})
