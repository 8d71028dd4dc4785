/** @file Convolution layers: what torch 2.15 gives for the same integers, and the definition for everything else. */
import { describe, expect, it } from 'vitest'
import { averagePool, Graph, maxPool, type PaddingMode, transposedConvolution } from '../graph/index.ts'
import { evaluate, Feeder, largestDifference, numbers } from '../runtime/testing/run.ts'
import { Random } from '../util/random.ts'
import { Conv1d, Conv2d, Conv3d, type Convolution, type ConvolutionLayerOptions, Parameter } from './index.ts'

/** The integers `i * factor mod modulus - offset`. */
const integers = (shape: readonly number[], factor: number, modulus: number, offset: number) =>
  Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => ((i * factor) % modulus) - offset)

const inputOf = (shape: readonly number[]) => integers(shape, 7, 11, 5)

function filled<T extends Convolution>(layer: T): T {
  layer.weight.data = integers(layer.weight.shape, 5, 7, 3)
  if (layer.bias) layer.bias.data = Float32Array.from({ length: layer.outChannels }, (_, i) => i)
  return layer
}

async function forward(layer: Convolution, shape: readonly number[], declared: readonly (number | string)[] = shape) {
  const graph = new Graph()
  const y = graph.trace(() => layer.forward(graph.input('x', 'float32', declared)))
  return (await evaluate({ y }, { x: { dtype: 'float32', dims: shape, data: inputOf(shape) } })).y
}

describe('a convolution gives what torch gives', () => {
  const cases: [string, Convolution, number[], number[], number[]][] = [
    [
      'Conv1d with stride and padding',
      new Conv1d(2, 2, 3, { stride: 2, padding: 1 }),
      ...[
        [1, 2, 5],
        [1, 2, 3],
        [-15, -22, 4, 38, 3, -13],
      ],
    ] as never,
    ...Object.entries({
      reflect: [19, 37, 7, -11, -30, -12, 7, -11],
      replicate: [-1, 37, 7, 5, 8, -12, 7, 2],
      circular: [1, 37, 7, -24, -32, -12, 7, 37],
    }).map(
      ([paddingMode, values]) =>
        [
          `Conv1d with padding mode ${paddingMode}`,
          new Conv1d(2, 2, 3, { stride: 2, padding: 2, paddingMode: paddingMode as PaddingMode }),
          [1, 2, 5],
          [1, 2, 4],
          values,
        ] as [string, Convolution, number[], number[], number[]],
    ),
    [
      'Conv1d with an even kernel and padding "same"',
      new Conv1d(2, 2, 4, { padding: 'same' }),
      [1, 2, 5],
      [1, 2, 5],
      [-13, 16, -5, 9, -22, -18, -5, 20, -10, 4],
    ],
    [
      'Conv2d in groups with everything different on the two axes',
      new Conv2d(4, 2, [2, 3], { stride: [1, 2], padding: [1, 0], dilation: [2, 1], groups: 2 }),
      [1, 4, 3, 4],
      [1, 2, 3, 1],
      [-15, 36, -18, 9, 23, 10],
    ],
    [
      'Conv3d, circular along one axis',
      new Conv3d(1, 1, 2, { padding: [1, 0, 0], paddingMode: 'circular' }),
      [1, 1, 3, 3, 3],
      [1, 1, 4, 2, 2],
      [-19, 26, -5, 29, 29, -25, -1, -11, 5, -27, -25, -13, -19, 26, -5, 29],
    ],
  ]
  it.each(cases)('%s', async (_, layer, input, output, values) => {
    const y = await forward(filled(layer), input)
    expect(y.dims).toEqual(output)
    expect(numbers(y)).toEqual(values)
  })

  it('transposed, in groups', async () => {
    const feeder = new Feeder()
    const x = feeder.values('x', 'float32', inputOf([1, 2, 3]), [1, 2, 3])
    const weight = feeder.values('weight', 'float32', integers([2, 2, 3], 5, 7, 3), [2, 2, 3])
    const bias = feeder.values('bias', 'float32', [0, 1, 2, 3])
    const y = transposedConvolution(x, weight, bias, { stride: 2, padding: 1, outputPadding: 1, groups: 2 })
    expect(numbers((await evaluate({ y }, feeder.feeds)).y)).toEqual([
      ...[-10, -6, 4, 6, -4, 0, -14, -8, 7, 7, -5, -1, -13, 11, -1, 7, 11, -4, -7, 18, 1, 6, 9, -6],
    ])
  })

  it('for pooling', async () => {
    const feeder = new Feeder()
    const x = feeder.values('x', 'float32', inputOf([1, 1, 4, 4]), [1, 1, 4, 4])
    const found = await evaluate(
      { largest: maxPool(x, 3, { stride: 2, padding: 1 }), mean: averagePool(x, 2) },
      feeder.feeds,
    )
    expect(numbers(found.largest)).toEqual([2, 5, 3, 5])
    expect(numbers(found.mean)).toEqual([-1.25, 1.75, -0.25, 0])
  })
})

/** A two-dimensional convolution by its definition, over an input whose elements outside are found by `index`. */
function byDefinition(layer: Conv2d, x: Float32Array, [batch, , height, width]: number[]): number[] {
  const { inChannels, outChannels, groups, kernelSize, stride, padding, dilation, paddingMode } = layer
  const [perGroup, lengths] = [inChannels / groups, [height, width]]
  const index = (at: number, length: number): number | undefined => {
    if (at >= 0 && at < length) return at
    if (paddingMode === 'zeros') return undefined
    if (paddingMode === 'replicate') return at < 0 ? 0 : length - 1
    if (paddingMode === 'circular') return (at + length) % length
    return at < 0 ? -at : 2 * (length - 1) - at
  }
  const counts = lengths.map((length, axis) => {
    const free = length + padding[axis][0] + padding[axis][1] - dilation[axis] * (kernelSize[axis] - 1) - 1
    return Math.floor(free / stride[axis]) + 1
  })
  const result: number[] = []
  for (let n = 0; n < batch; n++)
    for (let out = 0; out < outChannels; out++)
      for (let row = 0; row < counts[0]; row++)
        for (let column = 0; column < counts[1]; column++) {
          let total = layer.bias?.data[out] ?? 0
          const group = Math.floor(out / (outChannels / groups))
          for (let channel = 0; channel < perGroup; channel++)
            for (let i = 0; i < kernelSize[0]; i++)
              for (let j = 0; j < kernelSize[1]; j++) {
                const y = index(row * stride[0] + i * dilation[0] - padding[0][0], height)
                const z = index(column * stride[1] + j * dilation[1] - padding[1][0], width)
                if (y === undefined || z === undefined) continue
                const value = x[((n * inChannels + group * perGroup + channel) * height + y) * width + z]
                total += value * layer.weight.data[((out * perGroup + channel) * kernelSize[0] + i) * kernelSize[1] + j]
              }
          result.push(total)
        }
  return result
}

describe('a convolution is what its definition says', () => {
  const options: ConvolutionLayerOptions[] = [
    {},
    { stride: [3, 1], bias: false },
    { dilation: [1, 2], padding: [2, 1] },
    { padding: 'same', dilation: [3, 2] },
    { padding: 'valid', groups: 2 },
    { groups: 4, stride: 2, padding: 1 },
  ]
  const modes = ['zeros', 'reflect', 'replicate', 'circular'] as const
  const cases = options.flatMap(option => modes.map(paddingMode => ({ ...option, paddingMode })))
  it.each(cases.map(option => [JSON.stringify(option), option] as const))('%s', async (_, option) => {
    const layer = filled(new Conv2d(4, 8, [2, 3], option))
    const shape = [2, 4, 6, 7]
    expect(numbers(await forward(layer, shape))).toEqual(byDefinition(layer, inputOf(shape), shape))
  })

  it('for lengths that are known only when it runs', async () => {
    for (const paddingMode of modes) {
      const layer = filled(new Conv2d(4, 2, 3, { stride: [1, 2], padding: 2, paddingMode }))
      const y = await forward(layer, [2, 4, 5, 6], ['batch', 4, 'height', '2*half'])
      expect(largestDifference(numbers(y), byDefinition(layer, inputOf([2, 4, 5, 6]), [2, 4, 5, 6]))).toBe(0)
    }
  })
})

describe('a convolution layer', () => {
  it('has the parameters of torch, drawn within 1 / sqrt(fan in)', () => {
    const layer = new Conv2d(4, 60, 3, { groups: 2 })
    expect([...layer.namedParameters()].map(([name, { shape }]) => [name, [...shape]])).toEqual([
      ['weight', [60, 2, 3, 3]],
      ['bias', [60]],
    ])
    const bound = 1 / Math.sqrt(18)
    for (const parameter of layer.parameters()) {
      const values = parameter.init!(new Random(1), parameter.shape)
      const largest = Math.max(...values.map(Math.abs))
      expect(largest).toBeLessThanOrEqual(bound)
      expect(largest).toBeGreaterThan(0.9 * bound)
    }
    expect([...new Conv1d(2, 2, 1, { bias: false }).namedParameters()].map(([name]) => name)).toEqual(['weight'])
  })

  it('gives its windows for another kernel on the same positions', () => {
    const layer = new Conv1d(2, 2, 3, { stride: 2, padding: 1, dilation: 2 })
    expect(layer.window).toEqual({ stride: [2], padding: [[1, 1]], dilation: [2] })
    expect(new Conv1d(2, 2, 3, { padding: 1, paddingMode: 'reflect' }).window.padding).toBe(0)
  })

  it('is cloned with its tree', async () => {
    const layer = filled(new Conv1d(2, 2, 3, { padding: 'same' }))
    expect(numbers(await forward(layer.clone(), [1, 2, 4]))).toEqual(numbers(await forward(layer, [1, 2, 4])))
    expect(layer.clone().weight).toBeInstanceOf(Parameter)
  })

  it.each([
    ['groups that do not divide', () => new Conv2d(4, 6, 3, { groups: 4 }), /Conv2d: outChannels is 6.* 4 groups/],
    ['a mistyped mode', () => new Conv1d(2, 2, 3, { paddingMode: 'reflekt' as never }), /Did you mean "reflect"/],
    ['"same" with a stride', () => new Conv1d(2, 2, 3, { padding: 'same', stride: 2 }), /needs a stride of 1, got 2/],
    [
      'a kernel of the wrong rank',
      () => new Conv3d(2, 2, [3, 3]),
      /Conv3d: kernelSize must be .* or 3 of them, got 3,3/,
    ],
    ['a stride of 0', () => new Conv1d(2, 2, 3, { stride: 0 }), /Conv1d: stride must be an integer from 1 upwards/],
  ] as const)('refuses %s', (_, make, message) => {
    expect(make).toThrow(message)
  })

  it('refuses a mirror image of more than there is', async () => {
    const layer = filled(new Conv1d(2, 2, 3, { padding: 3, paddingMode: 'reflect' }))
    await expect(forward(layer, [1, 2, 3])).rejects.toThrow('needs at least 4 elements')
  })
})
