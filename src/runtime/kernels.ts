/** @file Which kernels this processor computes products with quantised weights fastest with: measured. */
import { dequantize, Graph, type IntegerProducts, linear, type QuantizedMatrix, type Weight } from '../graph/index.ts'
import type { TensorSource } from '../weights/index.ts'
import type { CompileOptions, Engine } from './engine.ts'
import { tensorData } from './tensor-data.ts'

/** Which products with weights of `int8-channel` are computed in 8-bit arithmetic; `auto` is what measuring chooses. */
export type QuantizedProducts = 'auto' | IntegerProducts

/** The values of {@link QuantizedProducts}. */
export const QUANTIZED_PRODUCTS: readonly QuantizedProducts[] = ['auto', 'exact', 'int8', 'int8-gradients']

/** Seconds that a product of so many rows took, in each of the ways in which it can be computed. */
export interface KernelTimes {
  rows: number
  /** With float32 weights. */
  float32: number
  /** With int8 weights that are dequantised for the call. */
  dequantized: number
  /** With int8 weights in 8-bit arithmetic, activations with one scale (`DynamicQuantizeMatMul`). */
  integer: number
  /** With int8 weights in blocks, activations with a scale a block (`MatMulNBits`), as texts are generated. */
  blocks: number
}

/** The number of rows of the products that are measured. */
export const MEASURED_ROWS: readonly number[] = [1, 8, 128, 512]

/** The matrix that is measured: that of a feed-forward layer of a model with half a billion parameters. */
const [COLUMNS, ROWS] = [896, 4864]
const ROUNDS = 3
/** What 8-bit arithmetic must gain at least, so that noise does not choose what is less exact. */
const GAIN = 1.1

/** The choice for training, whose products have many rows: 8-bit arithmetic where it gains at least a tenth. */
export function chooseProducts(times: readonly KernelTimes[]): 'exact' | 'int8' {
  const most = times.reduce<KernelTimes | undefined>(
    (best, one) => (best && best.rows > one.rows ? best : one),
    undefined,
  )
  return most && most.integer * GAIN <= most.dequantized ? 'int8' : 'exact'
}

type Kernel = Exclude<keyof KernelTimes, 'rows'>

/**
 * Measures the kernels. Every one gets its turn in each round, and its best round counts: what else the machine does
 * meanwhile disturbs all alike.
 *
 * @param now the clock, in milliseconds
 */
export async function measureKernels(
  engine: Pick<Engine, 'compile'>,
  threads: number | undefined,
  now: () => number = () => performance.now(),
): Promise<KernelTimes[]> {
  const candidates: [Kernel, CompileOptions][] = [
    ['float32', {}],
    ['dequantized', { dequantize: true, quantizedProducts: 'exact' }],
    ['integer', { quantizedProducts: 'int8' }],
    ['blocks', { quantizedProducts: 'exact' }],
  ]
  const times = MEASURED_ROWS.map(rows => ({ rows, float32: 1e9, dequantized: 1e9, integer: 1e9, blocks: 1e9 }))
  const programs = await Promise.all(
    candidates.map(async ([kernel, options]) => ({
      kernel,
      program: await engine.compile(product(kernel), { ...options, threads }),
    })),
  )
  try {
    for (const entry of times) {
      const x = { x: tensorData('float32', new Float32Array(entry.rows * COLUMNS).fill(0.5), [entry.rows, COLUMNS]) }
      for (let round = 0; round < ROUNDS; round++) {
        for (const { kernel, program } of programs) {
          const start = now()
          await program.run(x)
          entry[kernel] = Math.min(entry[kernel], (now() - start) / 1000)
        }
      }
    }
  } finally {
    for (const { program } of programs) await program.dispose()
  }
  return times
}

const layout: QuantizedMatrix = {
  scheme: 'int8',
  rows: ROWS,
  columns: COLUMNS,
  blockSize: 128,
  symmetric: true,
  transposed: false,
  turned: true,
}

function product(kernel: Kernel) {
  const graph = new Graph()
  const x = graph.input('x', 'float32', ['rows', COLUMNS])
  return graph.trace(() => {
    if (kernel === 'float32') return { y: linear(x, graph.weight(constant('w', 'float32', [ROWS, COLUMNS]))) }
    const blocks = COLUMNS / layout.blockSize
    const weight = dequantize(graph, layout, [
      constant('packed', 'uint8', [ROWS, blocks, layout.blockSize]),
      constant('scales', 'float32', [ROWS, blocks]),
      constant('turned', 'uint8', [COLUMNS, ROWS], 3),
      constant('signed', 'uint8', [ROWS, COLUMNS], 3),
      constant('row_scales', 'float32', [ROWS]),
    ])
    return { y: linear(x, weight) }
  })
}

/** Which values are multiplied does not matter to the time, as long as they are ordinary numbers. */
function constant(
  name: string,
  dtype: 'float32' | 'uint8',
  shape: readonly number[],
  byte = 131,
): Weight & { source: TensorSource } {
  const size = shape.reduce((a, b) => a * b, 1)
  const bytes =
    dtype === 'uint8' ? new Uint8Array(size).fill(byte) : new Uint8Array(new Float32Array(size).fill(0.25).buffer)
  return { name, dtype, shape, source: { kind: 'memory', dtype: dtype === 'uint8' ? 'U8' : 'F32', shape, bytes } }
}
