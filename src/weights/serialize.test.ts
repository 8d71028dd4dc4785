/** @file Serialising: bytes equal to Python's, round trips, streaming, refusals. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { skippable } from '../../test/shared.ts'
import { bytesPerElement, DTYPES, elementCount } from './dtype.ts'
import { buildFile } from './fixtures/build.ts'
import { parseSafetensors } from './parse.ts'
import { type MemoryEntry, safetensorsChunks, serializeSafetensors, type TensorEntry } from './serialize.ts'

const here = dirname(fileURLToPath(import.meta.url))
const shared = resolve(here, '../../../shared')

const entriesOf = (file: Uint8Array): MemoryEntry[] =>
  [...parseSafetensors(file).tensors].map(([name, { dtype, shape, bytes }]) => ({ name, dtype, shape, bytes }))

const inFolders = (folder: string, name: string): string[] =>
  readdirSync(resolve(shared, folder))
    .map(child => resolve(shared, folder, child, name))
    .filter(path => existsSync(path))

async function collect(entries: Iterable<TensorEntry>, metadata?: Record<string, string>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  for await (const chunk of safetensorsChunks(entries, metadata)) chunks.push(chunk.slice())
  return new Uint8Array(Buffer.concat(chunks))
}

const u8 = (name: string, ...bytes: number[]): MemoryEntry => ({
  name,
  dtype: 'U8',
  shape: [bytes.length],
  bytes: Uint8Array.from(bytes),
})

describe('bytes', () => {
  it('are those of the format: length, JSON without spaces, padding to 8, widest dtype first, then names', () => {
    const entries: MemoryEntry[] = [
      u8('z', 7),
      { name: 'b', dtype: 'F32', shape: [1, 1], bytes: Float32Array.of(1) },
      { name: 'a', dtype: 'F32', shape: [], bytes: Float32Array.of(2) },
      { name: 'n', dtype: 'I64', shape: [1], bytes: BigInt64Array.of(-1n) },
    ]
    const header =
      '{"__metadata__":{"format":"pt"},"n":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},' +
      '"a":{"dtype":"F32","shape":[],"data_offsets":[8,12]},"b":{"dtype":"F32","shape":[1,1],"data_offsets":[12,16]},' +
      '"z":{"dtype":"U8","shape":[1],"data_offsets":[16,17]}}'
    const padded = header.padEnd(Math.ceil(header.length / 8) * 8)
    const data = [255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 64, 0, 0, 128, 63, 7]
    expect(serializeSafetensors(entries, { format: 'pt' })).toEqual(buildFile(padded, data))
  })

  it('of nothing are an empty object, padded', () => {
    expect([...serializeSafetensors([])]).toEqual([8, 0, 0, 0, 0, 0, 0, 0, 123, 125, 32, 32, 32, 32, 32, 32])
  })

  it("equal Python's for every dtype and for awkward names, in whatever order the tensors come", () => {
    const python = new Uint8Array(readFileSync(resolve(here, 'fixtures/every-dtype.safetensors')))
    const entries = entriesOf(python)
    expect(new Set(entries.map(entry => entry.dtype))).toEqual(new Set(DTYPES))
    expect(serializeSafetensors(entries, { format: 'pt' })).toEqual(python)
    expect(serializeSafetensors(entries.toReversed(), { format: 'pt' })).toEqual(python)
  })

  it.skipIf(!existsSync(shared))(
    skippable(
      "equal Python's for every adapter of the oracle and for whole models",
      !existsSync(shared) && 'the shared oracle is not here',
    ),
    () => {
      const files = [
        ...inFolders('oracle/adapters', 'adapter_model.safetensors'),
        ...inFolders('oracle/models', 'model.safetensors'),
      ]
      expect(files.length).toBeGreaterThan(100)
      const different = files.filter(path => {
        const python = readFileSync(path)
        const metadata = parseSafetensors(python).metadata
        return !python.equals(serializeSafetensors(entriesOf(python), metadata))
      })
      expect(different).toEqual([])
    },
  )
})

describe('round trips', () => {
  const entry = fc
    .record({
      name: fc
        .string({ unit: 'grapheme' })
        .filter(name => name !== '__metadata__' && name !== '__proto__' && name !== 'constructor'),
      dtype: fc.constantFrom(...DTYPES),
      shape: fc.array(fc.nat({ max: 4 }), { maxLength: 3 }),
    })
    .chain(description => {
      const length = elementCount(description.shape) * bytesPerElement(description.dtype)
      return fc.uint8Array({ minLength: length, maxLength: length }).map(bytes => ({ ...description, bytes }))
    })
  const entries = fc.uniqueArray(entry, { selector: item => item.name, maxLength: 12 })
  const metadata = fc.option(
    fc.dictionary(
      fc.string().filter(key => !/__proto__|constructor/.test(key)),
      fc.string(),
    ),
    {
      nil: undefined,
    },
  )

  it('give every tensor and text back, and the same bytes again', () => {
    fc.assert(
      fc.property(entries, metadata, (tensors, texts) => {
        const file = serializeSafetensors(tensors, texts)
        const parsed = parseSafetensors(file)
        expect(parsed.metadata && { ...parsed.metadata }).toEqual(texts && { ...texts })
        expect(parsed.tensors.size).toBe(tensors.length)
        for (const { name, dtype, shape, bytes } of tensors) {
          expect(parsed.tensors.get(name)).toEqual({ kind: 'memory', dtype, shape, bytes })
        }
        expect(serializeSafetensors(entriesOf(file), texts)).toEqual(file)
      }),
    )
  })

  it('are the same when streamed from memory, deferred or in pieces', async () => {
    await fc.assert(
      fc.asyncProperty(entries, async tensors => {
        const mixed = tensors.map(({ bytes, ...rest }, i): TensorEntry => {
          if (i % 3 === 0) return { ...rest, bytes }
          if (i % 3 === 1) return { ...rest, read: async () => bytes }
          return { ...rest, stream: () => Array.from(bytes, byte => Uint8Array.of(byte)) }
        })
        expect(await collect(mixed)).toEqual(serializeSafetensors(tensors))
      }),
      { numRuns: 50 },
    )
  })
})

describe('streaming', () => {
  it('reads one tensor at a time, in the order of the file', async () => {
    const log: string[] = []
    const deferred = (name: string): TensorEntry => ({
      name,
      dtype: 'U8',
      shape: [1],
      read: () => {
        log.push(`read ${name}`)
        return Uint8Array.of(1)
      },
    })
    for await (const chunk of safetensorsChunks([deferred('b'), deferred('a')]))
      log.push(`chunk of ${chunk.byteLength}`)
    expect(log).toEqual(['chunk of 120', 'read a', 'chunk of 1', 'read b', 'chunk of 1'])
  })

  it('refuses a stream that is too short or too long, naming the tensor', async () => {
    const stream = (count: number): TensorEntry => ({
      name: 'w',
      dtype: 'U8',
      shape: [2],
      stream: () => Array.from({ length: count }, () => Uint8Array.of(0)),
    })
    await expect(collect([stream(1)])).rejects.toThrow('tensor "w": got 1 bytes, expected 2 for U8 of shape [2]')
    await expect(collect([stream(3)])).rejects.toThrow('tensor "w": got 3 bytes, expected 2')
  })
})

describe('refusals', () => {
  it.each<[string, MemoryEntry[], Record<string, string> | undefined, string]>([
    ['a name given twice', [u8('w', 1), u8('w', 2)], undefined, 'tensor "w": given twice'],
    ["the format's own name", [u8('__metadata__', 1)], undefined, 'taken by the format'],
    ['a reserved name', [u8('a.__proto__', 1)], undefined, 'reserved in JavaScript'],
    ['an unpaired surrogate', [u8('\ud800', 1)], undefined, 'unpaired surrogate'],
    ['bytes that do not fit', [{ ...u8('w', 1), shape: [2] }], undefined, 'got 1 bytes, expected 2'],
    ['a fractional shape', [{ ...u8('w', 1), shape: [0.5] }], undefined, 'shape is [0.5], expected whole numbers'],
    ['a negative shape', [{ ...u8('w', 1), shape: [-1, -1] }], undefined, 'shape is [-1, -1]'],
    ['an unknown dtype', [{ ...u8('w', 1), dtype: 'C64' as 'U8' }], undefined, 'C64'],
    ['metadata of another type', [], { step: 3 as unknown as string }, 'a number under "step"'],
  ])('%s', (_, entries, metadata, message) => {
    expect(() => serializeSafetensors(entries, metadata)).toThrow(message)
  })
})
