/** @file Products in 8-bit arithmetic: within the rounding of 8 bits of the exact ones, whatever the weights are. */
import { afterAll, describe, expect, it } from 'vitest'
import { packValues, type QuantizedLayout, QuantizedTensor } from '../../quantization/index.ts'
import { defaultEngine, floats, tensorData } from '../../runtime/index.ts'
import { Random } from '../../util/random.ts'
import { dequantize, Graph, type IntegerProducts, linear, lowerToOnnx, matmul } from '../index.ts'

afterAll(async () => (await defaultEngine()).dispose())

const normal = (count: number, seed: number) => {
  const random = new Random(seed)
  return Float32Array.from({ length: count }, () => random.normal())
}

function packed(values: Float32Array, rows: number, columns: number, transposed = false): QuantizedTensor {
  const layout: QuantizedLayout = {
    scheme: 'int8',
    rows,
    columns,
    blockSize: 32,
    symmetric: true,
    transposed,
    turned: true,
  }
  return QuantizedTensor.from('w', layout, packValues(values, layout, { perRow: true }))
}

/** The product forward or backward, and how far it is from the exact one with the same weights, as a share of its norm. */
async function error(
  direction: 'forward' | 'backward',
  weight: QuantizedTensor,
  a: Float32Array,
  count: number,
  products: IntegerProducts,
  bias?: readonly number[],
) {
  const { rows, columns } = weight.layout
  const width = direction === 'forward' ? columns : rows
  const run = async (how: IntegerProducts) => {
    const graph = new Graph()
    const x = graph.input('x', 'float32', ['n', width])
    const y = graph.trace(() => {
      const w = dequantize(graph, weight.layout, weight.parts)
      const { transposed } = weight.layout
      if (direction === 'backward') return matmul(x, w, { transB: transposed })
      return linear(x, w, bias && graph.constant([...bias], 'float32', [rows]), transposed)
    })
    const engine = await defaultEngine()
    await using program = await engine.compile({ y }, { dequantize: true, quantizedProducts: how })
    return floats((await program.run({ x: tensorData('float32', a, [count, width]) })).y)
  }
  const [got, exact] = [await run(products), await run('exact')]
  let [difference, norm] = [0, 0]
  for (const [i, value] of exact.entries()) {
    difference += (got[i] - value) ** 2
    norm += value ** 2
  }
  return Math.sqrt(difference / norm)
}

describe('products in 8-bit arithmetic', () => {
  it.each([
    ['wide outputs', 96, 64, false],
    ['narrow outputs, a scale for each row', 64, 96, false],
    ['weights with inputs as rows', 96, 64, true],
  ] as const)('are within the rounding of activations: %s', async (_, rows, columns, transposed) => {
    const weight = packed(normal(rows * columns, 1), rows, columns, transposed)
    const bias = Array.from({ length: rows }, (_, i) => i / 10)
    const found = await error('forward', weight, normal(columns * 20, 2), 20, 'int8', bias)
    expect(found).toBeGreaterThan(0)
    expect(found).toBeLessThan(0.02)
  })

  it('do not overflow where all weights are at the limit of their scale and inputs are all positive', async () => {
    const weight = packed(new Float32Array(64 * 64).fill(3), 64, 64)
    expect(await error('forward', weight, normal(64 * 8, 3).map(Math.abs), 8, 'int8')).toBeLessThan(0.005)
  })

  it('do not overflow for strongly skewed rows', async () => {
    const values = normal(64 * 64, 4).map((value, i) => (i % 64 < 32 ? 2 + 0.1 * value : 0.01 * value))
    const inputs = normal(64 * 8, 5).map(value => 2 + value)
    expect(await error('forward', packed(values, 64, 64), inputs, 8, 'int8')).toBeLessThan(0.01)
  })

  it('keep small rows exact beside a row that is far larger, where outputs are narrow', async () => {
    const inputs = normal(96 * 8, 6).map((value, i) => (i < 96 ? 1000 * value : value))
    const weight = packed(normal(64 * 96, 7), 64, 96)
    const run = async (start: number) => {
      const some = inputs.slice(start)
      return error('forward', weight, some, some.length / 96, 'int8')
    }
    expect(await run(0)).toBeLessThan(0.02)
    const rows = inputs.map((value, i) => (i < 96 ? 0 : value))
    expect(await error('forward', weight, rows, 8, 'int8')).toBeLessThan(0.02)
  })

  it.each([false, true])(
    'in the backward pass take the scales of outputs into account (transposed: %s)',
    async turned => {
      const values = normal(96 * 64, 8).map((value, i) => value * (1 + Math.floor(i / 64)))
      const weight = packed(values, 96, 64, turned)
      const found = await error('backward', weight, normal(96 * 10, 9), 10, 'int8-gradients')
      expect(found).toBeGreaterThan(0)
      expect(found).toBeLessThan(0.03)
      expect(await error('backward', weight, normal(96 * 10, 9), 10, 'int8')).toBe(0)
    },
  )

  it('are written only for the CPU kernels and only where they were asked for', () => {
    const weight = packed(normal(32 * 32, 1), 32, 32)
    const ops = (target: 'cpu' | 'standard', products?: IntegerProducts) => {
      const graph = new Graph()
      const x = graph.input('x', 'float32', ['n', 32])
      const y = graph.trace(() => linear(x, dequantize(graph, weight.layout, weight.parts)))
      const { model } = lowerToOnnx({ y }, { target, dequantize: true, products })
      return model.graph.nodes.map(({ op }) => op)
    }
    expect(ops('cpu', 'int8')).toContain('DynamicQuantizeMatMul')
    expect(ops('standard', 'int8')).not.toContain('DynamicQuantizeMatMul')
    expect(ops('cpu')).toContain('DequantizeLinear')
  })
})
