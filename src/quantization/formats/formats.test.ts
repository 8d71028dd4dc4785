/** @file Reading checkpoints of bitsandbytes, GPTQ and AWQ: the values of an independent reference, and broken files. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../../test/temporary.ts'
import { Random } from '../../util/random.ts'
import { Checkpoint, fromFloat32, type MemoryEntry, serializeSafetensors } from '../../weights/index.ts'
import { dynamicMap, readQuantized } from '../index.ts'
import { golden } from '../testing/golden.ts'

type Tensors = Record<string, Omit<MemoryEntry, 'name'>>

/** Opens what is made of a checkpoint with these tensors. */
async function read(tensors: Tensors, config: Record<string, unknown>, cacheDir?: string) {
  const entries = Object.entries(tensors).map(([name, tensor]) => ({ ...tensor, name }))
  const folder = await temporaryFolder({ 'model.safetensors': serializeSafetensors(entries) })
  await using checkpoint = await Checkpoint.open(folder)
  return await readQuantized(checkpoint, config, 'config.json', { cacheDir: cacheDir ?? join(folder, 'cache') })
}

const random = new Random(5)
const below = (limit: number): number => random.integer(limit)
const int32 = (shape: number[], values: ArrayLike<number>) => ({
  dtype: 'I32' as const,
  shape,
  bytes: Int32Array.from(Array.from(values)),
})
const float16 = (shape: number[], values: number[]) => ({
  dtype: 'F16' as const,
  shape,
  bytes: fromFloat32('F16', Float32Array.from(values)),
})

/** A matrix of whole numbers with groups along the inputs, and the values that they stand for. */
function groups(rows: number, columns: number, groupSize: number, bits: number, zero: () => number) {
  const count = columns / groupSize
  const codes = Array.from({ length: rows }, () => Array.from({ length: columns }, () => below(2 ** bits)))
  const zeros = Array.from({ length: rows }, () => Array.from({ length: count }, zero))
  // Powers of two, so that half precision holds them exactly.
  const scales = Array.from({ length: rows }, () => Array.from({ length: count }, () => 2 ** -below(8)))
  const values = codes.flatMap((row, n) =>
    row.map((code, k) => (code - zeros[n][Math.floor(k / groupSize)]) * scales[n][Math.floor(k / groupSize)]),
  )
  return { rows, columns, count, codes, zeros, scales, values }
}

type Groups = ReturnType<typeof groups>

/** Numbers of `bits` bits put into words of 32, the first in the lowest bits; `order` says which is which. */
function words(numbers: number[], bits: number, order?: number[]): number[] {
  const perWord = 32 / bits
  return Array.from({ length: Math.ceil(numbers.length / perWord) }, (_, word) => {
    let value = 0
    for (let i = 0; i < perWord; i++) value |= numbers[word * perWord + (order?.[i] ?? i)] << (bits * i)
    return value
  })
}

const column = <T>(matrix: T[][], at: number) => matrix.map(row => row[at])

/** As AutoGPTQ stores it. */
function gptq({ rows, columns, count, codes, zeros, scales }: Groups, bits: number, shift = 1): Tensors {
  const perWord = 32 / bits
  const packed = codes.map(row => words(row, bits))
  return {
    'fc.qweight': int32(
      [columns / perWord, rows],
      Array.from({ length: columns / perWord }, (_, word) => column(packed, word)).flat(),
    ),
    'fc.qzeros': int32(
      [count, rows / perWord],
      Array.from({ length: count }, (_, group) =>
        words(
          column(zeros, group).map(zero => zero - shift),
          bits,
        ),
      ).flat(),
    ),
    'fc.scales': float16([count, rows], Array.from({ length: count }, (_, group) => column(scales, group)).flat()),
    'fc.g_idx': int32(
      [columns],
      Array.from({ length: columns }, (_, k) => Math.floor((k * count) / columns)),
    ),
    'norm.weight': float16([2], [1, 0.5]),
  }
}

const ORDER = [0, 2, 4, 6, 1, 3, 5, 7]

function awq({ rows, columns, count, codes, zeros, scales }: Groups): Tensors {
  const lines = (matrix: number[][], length: number) =>
    Array.from({ length }, (_, at) => words(column(matrix, at), 4, ORDER)).flat()
  return {
    'fc.qweight': int32([columns, rows / 8], lines(codes, columns)),
    'fc.qzeros': int32([count, rows / 8], lines(zeros, count)),
    'fc.scales': float16([count, rows], Array.from({ length: count }, (_, group) => column(scales, group)).flat()),
  }
}

const nf4 = (): Tensors => {
  const bytes = (data: Uint8Array, shape = [data.length]) => ({ dtype: 'U8' as const, shape, bytes: data })
  const floats = (values: ArrayLike<number>) => ({
    dtype: 'F32' as const,
    shape: [values.length],
    bytes: Float32Array.from(Array.from(values)),
  })
  const table = [
    -1, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.091050036, 0, 0.0795803, 0.1609302, 0.2461123,
    0.33791524, 0.44070983, 0.562617, 0.72295684, 1,
  ]
  const packed = Uint8Array.from(Buffer.from(golden.packed, 'base64'))
  return {
    'fc.weight': bytes(packed, [packed.length, 1]),
    'fc.weight.absmax': bytes(Uint8Array.from(golden.absmax)),
    'fc.weight.quant_map': floats(table),
    'fc.weight.nested_absmax': floats(golden.nested_absmax),
    'fc.weight.nested_quant_map': floats(dynamicMap()),
    'fc.weight.quant_state.bitsandbytes__nf4': bytes(new TextEncoder().encode(golden.state)),
  }
}

const without = (tensors: Tensors, name: string) =>
  Object.fromEntries(Object.entries(tensors).filter(([key]) => key !== name))

describe('GPTQ', () => {
  const config = { quant_method: 'gptq', bits: 4, group_size: 32 }

  it.each([
    ['4 bits', 4, 32, (): number => 1 + below(15), 'int4'],
    ['4 bits and a zero point of 16', 4, 32, (): number => 16, 'int8'],
    ['4 bits in groups of an odd number a row', 4, 96, (): number => 8, 'int4'],
    ['8 bits', 8, 32, (): number => 1 + below(255), 'int8'],
  ] as const)('of %s gives its values exactly', async (_, bits, groupSize, zero, scheme) => {
    const matrix = groups(16, 96, groupSize, bits, zero)
    const file = await read(gptq(matrix, bits), { ...config, bits, group_size: groupSize })
    expect(file.layouts.get('fc.weight')?.scheme).toBe(scheme)
    expect([...(await file.tensor('fc.weight', false).read())]).toEqual(matrix.values)
    expect(file.others).toEqual(['norm.weight'])
    expect(file.source('norm.weight').dtype).toBe('F32')
  })

  it('of the second version stores zero points as they are', async () => {
    const matrix = groups(8, 64, 32, 4, () => below(16))
    const file = await read(gptq(matrix, 4, 0), { ...config, checkpoint_format: 'gptq_v2' })
    expect([...(await file.tensor('fc.weight', false).read())]).toEqual(matrix.values)
  })

  it.each([
    ['a part that is missing', (t: Tensors) => without(t, 'fc.scales'), config, '"fc.scales" is missing'],
    [
      'a part of another shape',
      (t: Tensors) => ({ ...t, 'fc.qzeros': int32([1, 1], [0]) }),
      config,
      /has shape \[1, 1\], expected \[2, 1\]/,
    ],
    [
      'a part of another type',
      (t: Tensors) => ({ ...t, 'fc.qweight': float16([8, 8], Array(64).fill(0)) }),
      config,
      'is F16 [8, 8], expected I32',
    ],
    [
      'reordered inputs',
      (t: Tensors) => ({
        ...t,
        'fc.g_idx': int32(
          [64],
          Array.from({ length: 64 }, (_, k) => k % 2),
        ),
      }),
      config,
      'desc_act: false',
    ],
    ['3 bits', (t: Tensors) => t, { ...config, bits: 3 }, 'to 3 bits, expected 4 or 8'],
    ['bits that are no number', (t: Tensors) => t, { ...config, bits: 'four' }, 'quantization_config.bits is "four"'],
    ['no quantised tensor', () => ({ 'norm.weight': float16([2], [1, 1]) }), config, 'no tensor is'],
    ['another method', (t: Tensors) => t, { quant_method: 'gptqq' }, /quantised by gptqq.*Did you mean/],
  ] as const)('is refused with %s', async (_, change, config, message) => {
    const tensors = change(
      gptq(
        groups(8, 64, 32, 4, () => 8),
        4,
      ),
    )
    await expect(read(tensors, config)).rejects.toThrow(message)
  })
})

describe('AWQ', () => {
  const config = { quant_method: 'awq', bits: 4, group_size: 32, version: 'gemm' }

  it('gives its values exactly', async () => {
    const matrix = groups(16, 64, 32, 4, () => below(16))
    const file = await read(awq(matrix), config)
    expect([...(await file.tensor('fc.weight', false).read())]).toEqual(matrix.values)
  })

  it.each([
    [
      'another layout',
      (t: Tensors) => t,
      { ...config, version: 'gemv' },
      'the layout "gemv", expected 4 bits in "gemm"',
    ],
    ['missing zero points', (t: Tensors) => without(t, 'fc.qzeros'), config, '"fc.qzeros" is missing'],
  ] as const)('is refused with %s', async (_, change, config, message) => {
    await expect(read(change(awq(groups(8, 64, 32, 4, () => 8))), config)).rejects.toThrow(message)
  })
})

describe('bitsandbytes', () => {
  const config = { quant_method: 'bitsandbytes', load_in_4bit: true }

  it('in 4 bits with double quantisation gives what bitsandbytes dequantises', async () => {
    const file = await read(nf4(), config)
    const values = await file.tensor('fc.weight', false).read()
    expect(file.layouts.get('fc.weight')).toMatchObject({ scheme: 'nf4', rows: 32, columns: 64, blockSize: 64 })
    for (const [i, value] of golden.values.entries()) expect(values[i]).toBeCloseTo(value, 8)
    for (const [i, value] of golden.last.entries()) expect(values[values.length - 4 + i]).toBeCloseTo(value, 8)
    expect(values.reduce((sum, value) => sum + Math.abs(value), 0)).toBeCloseTo(golden.sum, 5)
    expect(file.others).toEqual([])
  })

  it('in 8 bits gives codes times the largest magnitude of the row over 127', async () => {
    const codes = Int8Array.from({ length: 4 * 32 }, () => below(255) - 127)
    const largest = [1, 0.5, 3, 0]
    const file = await read(
      {
        'fc.weight': { dtype: 'I8', shape: [4, 32], bytes: codes },
        'fc.SCB': { dtype: 'F32', shape: [4], bytes: Float32Array.from(largest) },
        'fc.weight_format': { dtype: 'U8', shape: [], bytes: new Uint8Array(1) },
      },
      config,
    )
    const values = await file.tensor('fc.weight', false).read()
    for (const [i, code] of codes.entries()) expect(values[i]).toBeCloseTo((code * largest[i >> 5]) / 127, 6)
    expect(file.others).toEqual([])
  })

  const text = (value: string) => {
    const bytes = new TextEncoder().encode(value)
    return { 'fc.weight.quant_state.bitsandbytes__nf4': { dtype: 'U8' as const, shape: [bytes.length], bytes } }
  }

  it.each([
    ['missing scales', (t: Tensors) => without(t, 'fc.weight.absmax'), '"fc.weight.absmax" is missing'],
    [
      'a missing map of the scales',
      (t: Tensors) => without(t, 'fc.weight.nested_quant_map'),
      '"fc.weight.nested_quant_map" is missing',
    ],
    [
      'another table',
      (t: Tensors) => ({
        ...t,
        'fc.weight.quant_map': { dtype: 'F32' as const, shape: [16], bytes: new Float32Array(16) },
      }),
      'which is not nf4',
    ],
    ['a state that is no JSON', (t: Tensors) => ({ ...t, ...text('{') }), 'is not JSON'],
    [
      'a state of another shape',
      (t: Tensors) => ({ ...t, ...text(golden.state.replace('[32, 64]', '[32, 128]')) }),
      /has shape \[1024, 1\], expected \[2048, 1\]/,
    ],
    [
      'a state with a broken block',
      (t: Tensors) => ({ ...t, ...text(golden.state.replace('"blocksize": 64', '"blocksize": 60')) }),
      'a power of two',
    ],
  ] as const)('is refused with %s', async (_, change, message) => {
    await expect(read(change(nf4()), config)).rejects.toThrow(message)
  })
})

describe('the copy in the cache', () => {
  it('is made once, and not at all where reading fails', async () => {
    const cache = await temporaryFolder()
    const files = async () => (await readdir(join(cache, 'quantized'))).filter(name => name.endsWith('.safetensors'))
    await read(nf4(), { quant_method: 'bitsandbytes' }, cache)
    expect(await files()).toHaveLength(1)
    const broken = without(nf4(), 'fc.weight.absmax')
    await expect(read(broken, { quant_method: 'bitsandbytes' }, cache)).rejects.toThrow('absmax')
    expect(await files()).toHaveLength(1)
  })
})
