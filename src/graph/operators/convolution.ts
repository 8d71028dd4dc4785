/** @file Convolution and pooling over any number of spatial axes. */
import { addDims, type Dim, dimTerms, divideDims, formatShape, multiplyDims, subtractDims } from '../dim.ts'
import { defineOperator, graphOf, type Infer, type Operand, type Tensor, toTensor } from '../graph.ts'
import { reshape } from './shape.ts'

/** Zeros around one spatial axis: the same number on both sides, or before and after. */
export type AxisPadding = number | readonly [before: number, after: number]

/** How windows lie on the spatial axes. A number holds for all axes, a list has one entry an axis. */
export interface WindowOptions {
  /** Steps between windows, 1 by default. */
  stride?: number | readonly number[]
  /** Zeros around each axis, none by default. */
  padding?: number | readonly AxisPadding[]
  /** Steps between the elements of a window, 1 by default. */
  dilation?: number | readonly number[]
}

/** How {@link convolution} reads its operands. */
export interface ConvolutionOptions extends WindowOptions {
  /** Blocks of channels that do not see each other, 1 by default. */
  groups?: number
}

/** The attributes of an operator with windows; `pads` are those before each axis, then those after. */
export interface WindowAttributes {
  strides: readonly number[]
  pads: readonly number[]
  dilations: readonly number[]
}

/** One entry for each of `count` axes. Throws for lists of another length and for values below `least`. */
function perAxis(value: number | readonly number[], count: number, name: string, least: number): number[] {
  const list = typeof value === 'number' ? Array<number>(count).fill(value) : [...value]
  if (list.length !== count || list.some(entry => !Number.isInteger(entry) || entry < least)) {
    throw new Error(`${name} must be ${count} integers from ${least} upwards, or one for all, got ${value}`)
  }
  return list
}

function windowAttributes(options: WindowOptions, count: number): WindowAttributes {
  const { stride = 1, padding = 0, dilation = 1 } = options
  const side = (index: 0 | 1) =>
    typeof padding === 'number' ? padding : padding.map(entry => (typeof entry === 'number' ? entry : entry[index]))
  return {
    strides: perAxis(stride, count, 'stride', 1),
    pads: [...perAxis(side(0), count, 'padding', 0), ...perAxis(side(1), count, 'padding', 0)],
    dilations: perAxis(dilation, count, 'dilation', 1),
  }
}

/** `dim / divisor` split into a quotient and a constant rest from 0 to `divisor` - 1; undefined where none is known. */
function divideWithRest(dim: Dim, divisor: number): { quotient: Dim; rest: number } | undefined {
  const constant = dimTerms(dim).find(({ names }) => names.length === 0)?.coefficient ?? 0
  const rest = ((constant % divisor) + divisor) % divisor
  const quotient = divideDims(subtractDims(dim, rest), divisor)
  return quotient === undefined ? undefined : { quotient, rest }
}

/** The number of windows along one axis, and the elements after the last one that no window reaches. */
function windowsAlong(
  length: Dim,
  kernel: Dim,
  { strides, pads, dilations }: WindowAttributes,
  axis: number,
): { count: Dim; rest: number } {
  const padded = addDims(length, pads[axis], pads[axis + strides.length])
  const span = addDims(multiplyDims(subtractDims(kernel, 1), dilations[axis]), 1)
  const free = subtractDims(padded, span)
  if (typeof free === 'number' && free < 0) {
    throw new Error(`a window spans ${span} elements of spatial axis ${axis}, which has ${padded} with its padding`)
  }
  const steps = divideWithRest(free, strides[axis])
  if (!steps) {
    throw new Error(
      `the number of windows of stride ${strides[axis]} along an axis of ${length} is not known; declare a length that the stride divides, such as "${strides[axis]}*length"`,
    )
  }
  return { count: addDims(steps.quotient, 1), rest: steps.rest }
}

const spatial = (x: Tensor) => x.shape.slice(2)

function requireChannels(x: Tensor, weight: Tensor, bias: Tensor | undefined, channels: Dim, outputs: Dim): void {
  if (x.rank < 3 || weight.rank !== x.rank) {
    throw new Error(
      'expected an input [batch, channels, length...] and a weight with as many axes, at least one of them spatial',
    )
  }
  if (x.dtype !== weight.dtype) throw new Error('element types differ')
  if (x.shape[1] !== channels) throw new Error(`the input has ${x.shape[1]} channels, the weight expects ${channels}`)
  if (bias && (bias.rank !== 1 || bias.shape[0] !== outputs)) throw new Error(`the bias must have shape [${outputs}]`)
}

const requireGroups = (groups: number, channels: Dim) => {
  if (!Number.isInteger(groups) || groups < 1 || divideDims(channels, groups) === undefined) {
    throw new Error(`${channels} channels of the weight's first axis cannot be divided into ${groups} groups`)
  }
}

defineOperator('Conv', ([x, weight, bias], attributes) => {
  const { groups, ...window } = attributes as unknown as WindowAttributes & { groups: number }
  const [outputs, inputs] = weight.shape
  requireGroups(groups, outputs)
  requireChannels(x, weight, bias, multiplyDims(inputs, groups), outputs)
  const counts = spatial(x).map((length, axis) => windowsAlong(length, weight.shape[axis + 2], window, axis).count)
  return [{ dtype: x.dtype, shape: [x.shape[0], outputs, ...counts] }]
})

/**
 * The cross-correlation of an input with a kernel, as PyTorch's `conv1d` to `conv3d`.
 *
 * @param x `[batch, in, length...]` with any number of spatial axes; a length that is not a number must be one that the
 *   stride divides but for a constant
 * @param weight `[out, in / groups, kernel...]`
 * @param bias `[out]`
 * @returns `[batch, out, floor((length + padding - dilation * (kernel - 1) - 1) / stride) + 1...]`
 */
export function convolution(
  x: Operand,
  weight: Operand,
  bias?: Operand,
  { groups = 1, ...options }: ConvolutionOptions = {},
): Tensor {
  const graph = graphOf([x, weight, bias])
  const inputs = [x, weight, ...(bias === undefined ? [] : [bias])].map(operand => toTensor(graph, operand))
  return graph.add('Conv', inputs, { ...windowAttributes(options, inputs[0].rank - 2), groups })[0]
}

defineOperator('ConvTranspose', ([x, weight, bias], attributes) => {
  const { groups, outputPadding, ...window } = attributes as unknown as WindowAttributes & {
    groups: number
    outputPadding: readonly number[]
  }
  const [inputs, perGroup] = weight.shape
  const outputs = multiplyDims(perGroup, groups)
  requireGroups(groups, inputs)
  requireChannels(x, weight, bias, inputs, outputs)
  const lengths = spatial(x).map((count, axis) => {
    const { strides, pads, dilations } = window
    if (outputPadding[axis] >= strides[axis]) {
      throw new Error(`output padding ${outputPadding[axis]} is not below the stride ${strides[axis]}`)
    }
    const span = multiplyDims(subtractDims(weight.shape[axis + 2], 1), dilations[axis])
    const steps = multiplyDims(subtractDims(count, 1), strides[axis])
    return addDims(steps, span, 1, outputPadding[axis] - pads[axis] - pads[axis + strides.length])
  })
  return [{ dtype: x.dtype, shape: [x.shape[0], outputs, ...lengths] }]
})

/**
 * The transpose of {@link convolution}, which is its gradient with respect to the input; PyTorch's `conv_transpose`.
 *
 * @param x `[batch, in, count...]`
 * @param weight `[in, out / groups, kernel...]`
 * @param bias `[out]`
 * @param options.outputPadding elements added after the end of each axis of the result, below the stride
 * @returns `[batch, out, (count - 1) * stride - padding + dilation * (kernel - 1) + outputPadding + 1...]`
 */
export function transposedConvolution(
  x: Operand,
  weight: Operand,
  bias?: Operand,
  {
    groups = 1,
    outputPadding = 0,
    ...options
  }: ConvolutionOptions & { outputPadding?: number | readonly number[] } = {},
): Tensor {
  const graph = graphOf([x, weight, bias])
  const inputs = [x, weight, ...(bias === undefined ? [] : [bias])].map(operand => toTensor(graph, operand))
  const count = inputs[0].rank - 2
  return graph.add('ConvTranspose', inputs, {
    ...windowAttributes(options, count),
    groups,
    outputPadding: perAxis(outputPadding, count, 'outputPadding', 0),
  })[0]
}

/** For each spatial axis of a convolution's input how many elements after the last window none reaches. */
export function unreachedElements(x: Tensor, weight: Tensor, window: WindowAttributes): number[] {
  return spatial(x).map((length, axis) => windowsAlong(length, weight.shape[axis + 2], window, axis).rest)
}

const pooled: Infer = ([x], attributes) => {
  const { kernel, ...window } = attributes as unknown as WindowAttributes & { kernel: readonly number[] }
  const counts = spatial(x).map((length, axis) => {
    const widest = Math.max(window.pads[axis], window.pads[axis + kernel.length])
    if (2 * widest > kernel[axis]) throw new Error(`padding ${widest} is more than half of the window ${kernel[axis]}`)
    return windowsAlong(length, kernel[axis], window, axis).count
  })
  const shape = [...x.shape.slice(0, 2), ...counts]
  return [
    { dtype: x.dtype, shape },
    { dtype: 'int64', shape },
  ]
}

// The second output holds the position of each maximum in the flattened input.
defineOperator('MaxPool', pooled)

function poolingInput(x: Operand, kernel: number | readonly number[]): { tensor: Tensor; kernel: number[] } {
  const tensor = toTensor(graphOf([x]), x)
  if (tensor.rank < 3)
    throw new Error(`pooling: expected [batch, channels, length...], got ${formatShape(tensor.shape)}`)
  return { tensor, kernel: perAxis(kernel, tensor.rank - 2, 'kernel', 1) }
}

/**
 * The largest element of each window of each channel, as PyTorch's `max_pool2d`; padding never wins.
 *
 * @param x `[batch, channels, length...]`
 * @param options.stride the kernel's size by default
 */
export function maxPool(x: Operand, kernel: number | readonly number[], options: WindowOptions = {}): Tensor {
  const { tensor, kernel: sizes } = poolingInput(x, kernel)
  const window = windowAttributes({ ...options, stride: options.stride ?? sizes }, sizes.length)
  return tensor.graph.add('MaxPool', [tensor], { kernel: sizes, ...window })[0]
}

/**
 * The mean of each window of each channel, padding included, as PyTorch's `avg_pool2d`.
 *
 * @param x `[batch, channels, length...]`
 * @param options.stride the kernel's size by default
 */
export function averagePool(x: Operand, kernel: number | readonly number[], options: WindowOptions = {}): Tensor {
  const { tensor, kernel: sizes } = poolingInput(x, kernel)
  const [batch, channels, ...lengths] = tensor.shape
  const size = sizes.reduce((a, b) => a * b, 1)
  const mean = tensor.graph.constant(Array<number>(size).fill(1 / size), tensor.dtype, [1, 1, ...sizes])
  const single = reshape(tensor, [multiplyDims(batch, channels), 1, ...lengths])
  const result = convolution(single, mean, undefined, { ...options, stride: options.stride ?? sizes })
  return reshape(result, [batch, channels, ...spatial(result)])
}
