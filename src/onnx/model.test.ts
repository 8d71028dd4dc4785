/** @file Models written and read again, and what broken files do. */
import fc from 'fast-check'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import {
  decodeModel,
  encodeModel,
  ONNX_DTYPES,
  type OnnxAttribute,
  type OnnxDType,
  type OnnxGraph,
  type OnnxModel,
  type OnnxTensor,
} from './index.ts'
import { ProtoWriter } from './protobuf.ts'

const text = fc.string({ unit: 'grapheme', maxLength: 6 })
const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
const float = fc.float()
const dtype = fc.constantFrom(...(Object.keys(ONNX_DTYPES) as OnnxDType[]))
const dims = fc.array(fc.nat({ max: 2 ** 40 }), { maxLength: 3 })

const tensor: fc.Arbitrary<OnnxTensor> = fc.oneof(
  fc.record({ name: text, dtype, dims, data: fc.uint8Array({ maxLength: 9 }) }),
  fc.record({
    name: text,
    dtype,
    dims,
    external: fc.record({
      location: fc.string({ minLength: 1 }),
      offset: fc.maxSafeNat(),
      length: fc.maxSafeNat(),
    }),
  }),
)

const value = fc.record({
  name: text,
  dtype,
  dims: fc.option(fc.array(fc.oneof(text, fc.integer(), fc.constant('past+sequence')), { maxLength: 3 }), {
    nil: undefined,
  }),
})

const { graph } = fc.letrec<{ graph: OnnxGraph; attribute: OnnxAttribute }>(tie => ({
  attribute: fc.oneof(
    { maxDepth: 2, depthIdentifier: 'graph' },
    int64.map(int => ({ int })),
    fc.array(int64, { maxLength: 3 }).map(ints => ({ ints })),
    float.map(float => ({ float })),
    fc.array(float, { maxLength: 3 }).map(floats => ({ floats })),
    text.map(string => ({ string })),
    fc.array(text, { maxLength: 3 }).map(strings => ({ strings })),
    tensor.map(tensor => ({ tensor })),
    tie('graph').map(graph => ({ graph })),
  ),
  graph: fc.record({
    name: text,
    nodes: fc.array(
      fc.record({
        op: text,
        domain: text,
        name: text,
        inputs: fc.array(text, { maxLength: 3 }),
        outputs: fc.array(text, { maxLength: 2 }),
        attributes: fc.dictionary(text, tie('attribute'), { maxKeys: 3 }),
      }),
      { maxLength: 2, depthIdentifier: 'graph' },
    ),
    initializers: fc.array(tensor, { maxLength: 2 }),
    inputs: fc.array(value, { maxLength: 2 }),
    outputs: fc.array(value, { maxLength: 2 }),
    valueInfo: fc.array(value, { maxLength: 2 }),
  }),
}))

const model: fc.Arbitrary<OnnxModel> = fc.record({
  irVersion: fc.nat(),
  producer: text,
  opsets: fc.dictionary(text, fc.nat(), { maxKeys: 2 }),
  graph,
  metadata: fc.dictionary(text, text, { maxKeys: 2 }),
})

/** A small model with something of everything. */
const example: OnnxModel = {
  irVersion: 10,
  producer: 'test',
  opsets: { '': 20, 'com.microsoft': 1 },
  metadata: { author: 'nobody' },
  graph: {
    name: 'g',
    nodes: [
      { op: 'Add', domain: '', name: 'add', inputs: ['x', 'c'], outputs: ['sum'], attributes: {} },
      {
        op: 'Softmax',
        domain: '',
        name: 'soft',
        inputs: ['sum'],
        outputs: ['y'],
        attributes: { axis: { int: -1n } },
      },
    ],
    initializers: [
      { name: 'c', dtype: 'float32', dims: [2], data: new Uint8Array(new Float32Array([0.5, -0.5]).buffer) },
    ],
    inputs: [{ name: 'x', dtype: 'float32', dims: ['batch', 2] }],
    outputs: [{ name: 'y', dtype: 'float32', dims: ['batch', 2] }],
    valueInfo: [],
  },
}

/** The bytes of a model with one initializer, written field by field. */
function modelWithTensor(write: (tensor: ProtoWriter) => void): Uint8Array {
  const writer = new ProtoWriter()
  writer.message(7, graph => graph.message(5, write))
  return writer.finish()
}
const readTensor = (write: (tensor: ProtoWriter) => void) => decodeModel(modelWithTensor(write)).graph.initializers[0]

describe('a model', () => {
  it('is read as it was written', () => {
    fc.assert(fc.property(model, written => void expect(decodeModel(encodeModel(written))).toEqual(written)))
  })

  it('is accepted by ONNX Runtime', async () => {
    const session = await InferenceSession.create(encodeModel(example))
    const { y } = await session.run({ x: new Tensor('float32', [1, 2, 3, 4], [2, 2]) })
    expect(y.data).toEqual(new Float32Array([0.5, 0.5, 0.5, 0.5]))
    await session.release()
  })

  it('keeps keys that objects treat in their own way', () => {
    const metadata = JSON.parse('{"__proto__": "a", "constructor": "b", "1": "c"}')
    const read = decodeModel(encodeModel({ ...example, metadata })).metadata!
    expect(Object.entries(read).sort()).toEqual([
      ['1', 'c'],
      ['__proto__', 'a'],
      ['constructor', 'b'],
    ]) // prettier-ignore
  })

  it('keeps the extremes of 64-bit integers', () => {
    const ints = [2n ** 63n - 1n, -(2n ** 63n), 0n, -1n, BigInt(Number.MAX_SAFE_INTEGER)]
    const node = { ...example.graph.nodes[0], attributes: { ints: { ints }, one: { int: Number.MIN_SAFE_INTEGER } } }
    const read = decodeModel(encodeModel({ ...example, graph: { ...example.graph, nodes: [node] } }))
    expect(read.graph.nodes[0].attributes).toEqual({ ints: { ints }, one: { int: BigInt(Number.MIN_SAFE_INTEGER) } })
  })

  it('keeps floats bit by bit, whatever they are', () => {
    const floats = [-0, Infinity, -Infinity, Number.NaN, 2 ** -149, 3.4028234663852886e38]
    const node = { ...example.graph.nodes[0], attributes: { floats: { floats } } }
    const read = decodeModel(encodeModel({ ...example, graph: { ...example.graph, nodes: [node] } }))
    expect(read.graph.nodes[0].attributes.floats).toEqual({ floats })
  })
})

describe('tensors that other writers made', () => {
  it('have their values in typed fields, packed or one by one', () => {
    const packed = new Uint8Array(new Float32Array([1, 2]).buffer)
    const floats = readTensor(t => {
      t.packedInts(1, [3])
      t.int(2, 1)
      t.bytes(4, packed)
      t.float(4, 3)
    })
    expect(new Float32Array(floats.data!.slice().buffer)).toEqual(new Float32Array([1, 2, 3]))
    const ints = readTensor(t => {
      t.int(1, 3)
      t.int(2, 7)
      t.packedInts(7, [-1, 2n ** 63n - 1n])
      t.int(7, 5)
    })
    expect(ints.dims).toEqual([3])
    expect(new BigInt64Array(ints.data!.slice().buffer)).toEqual(new BigInt64Array([-1n, 2n ** 63n - 1n, 5n]))
    const bools = readTensor(t => {
      t.int(2, 9)
      t.packedInts(5, [1, 0, 1])
    })
    expect([...bools.data!]).toEqual([1, 0, 1])
  })

  it('may hold more values than a function takes arguments', () => {
    const count = 300_000
    const read = readTensor(t => {
      t.int(2, 1)
      t.bytes(4, new Uint8Array(4 * count).fill(63))
    })
    expect(read.data).toHaveLength(4 * count)
  })

  it('may leave the offset and the length of external data out', () => {
    const entry = (t: ProtoWriter, key: string, value: string) =>
      t.message(13, w => {
        w.string(1, key)
        w.string(2, value)
      })
    const external = (...entries: [string, string][]) =>
      readTensor(t => {
        t.packedInts(1, [2, 3])
        t.int(2, 10)
        t.int(14, 1)
        for (const [key, value] of entries) entry(t, key, value)
      }).external
    expect(external(['location', 'w.bin'])).toEqual({ location: 'w.bin', offset: 0, length: 12 })
    expect(external(['location', 'w.bin'], ['offset', '64'], ['length', '12'])).toMatchObject({ offset: 64 })
    expect(() => external(['offset', '64'])).toThrow('names no file')
    expect(() => external(['location', 'w.bin'], ['offset', 'x'])).toThrow('the offset "x" of the external tensor')
    expect(() => external(['location', 'w.bin'], ['length', '-1'])).toThrow('the length "-1"')
  })

  it('may say what a dimension means beside its length', () => {
    const writer = new ProtoWriter()
    writer.message(7, graph =>
      graph.message(11, info =>
        info.message(2, type =>
          type.message(1, t => {
            t.int(1, 1)
            t.message(2, shape => {
              shape.message(1, dim => {
                dim.string(3, 'DATA_BATCH')
                dim.int(1, 4)
              })
              shape.message(1, dim => dim.string(3, 'DATA_CHANNEL'))
            })
          }),
        ),
      ),
    )
    expect(decodeModel(writer.finish()).graph.inputs[0].dims).toEqual([4, ''])
  })
})

describe('broken bytes', () => {
  const whole = encodeModel(example)

  it('that are cut off anywhere are an error or, at the end of a field, less of a model', () => {
    for (let length = 0; length < whole.length; length++) {
      let read: OnnxModel | undefined
      try {
        read = decodeModel(whole.slice(0, length))
      } catch (error) {
        expect((error as Error).message).toMatch(/protobuf: |hold no graph/)
      }
      if (read) expect(read.graph).toEqual(example.graph)
    }
    expect(() => decodeModel(whole.slice(0, 20))).toThrow()
  })

  it('never hang and never give anything but a model or an error', () => {
    const graph = expect.objectContaining({ nodes: expect.any(Array) })
    const attempt = (bytes: Uint8Array) => {
      try {
        expect(decodeModel(bytes).graph).toEqual(graph)
      } catch (error) {
        expect(error).toBeInstanceOf(Error)
      }
    }
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), attempt), { numRuns: 300 })
    const damage = fc.array(fc.tuple(fc.nat({ max: whole.length - 1 }), fc.nat({ max: 255 })), {
      minLength: 1,
      maxLength: 4,
    })
    const damaged = damage.map(changes => {
      const bytes = whole.slice()
      for (const [at, byte] of changes) bytes[at] = byte
      return bytes
    })
    fc.assert(fc.property(damaged, attempt), { numRuns: 1000 })
  })

  it.each([2n ** 31n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n])('that declare %s bytes allocate nothing', length => {
    const writer = new ProtoWriter()
    writer.int(1, 10)
    const tag = [(7 << 3) | 2]
    const claimed = new ProtoWriter()
    claimed.int(0, length)
    const bytes = Uint8Array.from([...writer.finish(), ...tag, ...claimed.finish().subarray(1), 1, 2, 3])
    const before = process.memoryUsage().arrayBuffers
    expect(() => decodeModel(bytes)).toThrow(/a field of \d+ bytes ends past the message \(3 left\)/)
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1e6)
  })

  it('that end inside a packed list are refused', () => {
    expect(() => readTensor(t => t.bytes(1, Uint8Array.of(1, 200)))).toThrow('ends inside a number')
    const floats = (t: ProtoWriter) => {
      t.int(2, 1)
      t.bytes(4, new Uint8Array(6))
    }
    expect(() => readTensor(floats)).toThrow('6 bytes are no list of 32-bit floats')
  })

  it.each<[string, (t: ProtoWriter) => void, RegExp]>([
    ['no element type', t => t.string(8, 'w'), /the tensor "w" has no data type/],
    ['an unknown element type', t => t.int(2, 99), /the element type 99 is not supported/],
    ['a length past 2^53', t => t.int(2, 2n ** 60n), /the integer \d+ is too large/],
    ['text that is not UTF-8', t => t.bytes(8, Uint8Array.of(255)), /encoded data was not valid/],
  ])('of a tensor with %s are refused', (_, write, message) => {
    expect(() => readTensor(write)).toThrow(message)
  })

  it('without a graph are not a model', () => {
    expect(() => decodeModel(new Uint8Array(0))).toThrow('These bytes are not an ONNX model: they hold no graph.')
    expect(() => decodeModel(new TextEncoder().encode('version https://git-lfs.github.com/spec/v1'))).toThrow()
  })
})
