/** @file Convolution layers. */
import {
  convolution,
  graphOf,
  type Operand,
  PADDING_MODES,
  type PaddingMode,
  padAxis,
  type Tensor,
  toTensor,
  type WindowOptions,
} from '../graph/index.ts'
import { didYouMean } from '../util/nearest.ts'
import { kaimingUniformInit, uniformInit } from './init.ts'
import { Module } from './module.ts'
import { type Initializer, Parameter } from './parameter.ts'

/** A size for all spatial axes, or one an axis. */
export type AxisSizes = number | readonly number[]

/** How a convolution layer is made; the names and defaults are PyTorch's. */
export interface ConvolutionLayerOptions {
  /** Steps between windows (1). */
  stride?: AxisSizes
  /** Elements added on both sides of each axis (0), `'valid'` for none, or `'same'` to keep the lengths. */
  padding?: AxisSizes | 'valid' | 'same'
  /** Steps between the elements of a window (1). */
  dilation?: AxisSizes
  /** Blocks of channels that do not see each other (1). */
  groups?: number
  /** Whether a bias is added (true). */
  bias?: boolean
  /** What the added elements are (`'zeros'`). */
  paddingMode?: PaddingMode
  init?: Initializer
  biasInit?: Initializer
}

/** Elements added before and after each spatial axis. */
type Pads = readonly (readonly [before: number, after: number])[]

/** A convolution over any number of spatial axes; use {@link Conv1d}, {@link Conv2d} or {@link Conv3d}. */
export abstract class Convolution extends Module {
  readonly inChannels: number
  readonly outChannels: number
  readonly kernelSize: readonly number[]
  readonly stride: readonly number[]
  /** The elements added before and after each spatial axis. */
  readonly padding: Pads
  readonly dilation: readonly number[]
  readonly groups: number
  readonly paddingMode: PaddingMode
  /** `[out, in / groups, kernel...]` */
  weight: Parameter
  /** `[out]` */
  bias: Parameter | undefined

  /** @throws when a size is not valid, the groups do not divide the channels, or `'same'` meets a stride */
  constructor(
    axes: number,
    inChannels: number,
    outChannels: number,
    kernelSize: AxisSizes,
    options: ConvolutionLayerOptions = {},
  ) {
    super()
    const { groups = 1, paddingMode = 'zeros', padding = 0, bias = true } = options
    for (const [name, channels] of Object.entries({ inChannels, outChannels })) {
      if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0) {
        throw new Error(`Conv${axes}d: ${name} is ${channels}, which cannot be divided into ${groups} groups`)
      }
    }
    if (!PADDING_MODES.includes(paddingMode)) {
      throw new Error(
        `Conv${axes}d: "${paddingMode}" is not a padding mode; expected ${PADDING_MODES.join(', ')}.${didYouMean(paddingMode, PADDING_MODES)}`,
      )
    }
    const sizes = (name: string, value: AxisSizes, least: number) =>
      perAxis(`Conv${axes}d: ${name}`, value, axes, least)
    this.inChannels = inChannels
    this.outChannels = outChannels
    this.groups = groups
    this.paddingMode = paddingMode
    this.kernelSize = sizes('kernelSize', kernelSize, 1)
    this.stride = sizes('stride', options.stride ?? 1, 1)
    this.dilation = sizes('dilation', options.dilation ?? 1, 1)
    if (padding === 'same') this.padding = samePadding(this)
    else this.padding = sizes('padding', padding === 'valid' ? 0 : padding, 0).map(size => [size, size])
    const shape = [outChannels, inChannels / groups, ...this.kernelSize]
    const fanIn = shape.slice(1).reduce((a, b) => a * b, 1)
    this.weight = new Parameter(shape, { init: options.init ?? kaimingUniformInit() })
    this.bias = bias
      ? new Parameter([outChannels], { init: options.biasInit ?? uniformInit(1 / Math.sqrt(fanIn)) })
      : undefined
  }

  /** How the windows lie on an input that {@link padded} has prepared; for another kernel on the same positions. */
  get window(): WindowOptions {
    const padding = this.paddingMode === 'zeros' ? this.padding : 0
    return { stride: this.stride, padding, dilation: this.dilation }
  }

  /** The input with what `paddingMode` adds, unless that is zeros, which the convolution itself adds. */
  padded(x: Operand): Tensor {
    const tensor = toTensor(graphOf([x]), x)
    if (this.paddingMode === 'zeros') return tensor
    return this.padding.reduce(
      (part, [before, after], axis) => padAxis(part, axis + 2, before, after, this.paddingMode),
      tensor,
    )
  }

  /** @param x `[batch, in, length...]` @returns `[batch, out, length...]` */
  forward(x: Operand): Tensor {
    return convolution(this.padded(x), this.weight, this.bias, { ...this.window, groups: this.groups })
  }
}

/** A convolution over one axis, `[batch, channels, length]`. */
export class Conv1d extends Convolution {
  constructor(inChannels: number, outChannels: number, kernelSize: AxisSizes, options?: ConvolutionLayerOptions) {
    super(1, inChannels, outChannels, kernelSize, options)
  }
}

/** A convolution over two axes, `[batch, channels, height, width]`. */
export class Conv2d extends Convolution {
  constructor(inChannels: number, outChannels: number, kernelSize: AxisSizes, options?: ConvolutionLayerOptions) {
    super(2, inChannels, outChannels, kernelSize, options)
  }
}

/** A convolution over three axes, `[batch, channels, depth, height, width]`. */
export class Conv3d extends Convolution {
  constructor(inChannels: number, outChannels: number, kernelSize: AxisSizes, options?: ConvolutionLayerOptions) {
    super(3, inChannels, outChannels, kernelSize, options)
  }
}

function perAxis(name: string, value: AxisSizes, axes: number, least: number): number[] {
  const list = typeof value === 'number' ? Array<number>(axes).fill(value) : [...value]
  if (list.length !== axes || list.some(size => !Number.isInteger(size) || size < least)) {
    throw new Error(`${name} must be an integer from ${least} upwards, or ${axes} of them, got ${value}`)
  }
  return list
}

/** What keeps the lengths; where the sum is odd the greater part comes after. */
function samePadding({ kernelSize, stride, dilation }: Pick<Convolution, 'kernelSize' | 'stride' | 'dilation'>): Pads {
  if (stride.some(step => step !== 1)) {
    throw new Error(`Conv${stride.length}d: the padding "same" needs a stride of 1, got ${stride}`)
  }
  return kernelSize.map((size, axis) => {
    const total = dilation[axis] * (size - 1)
    return [Math.floor(total / 2), Math.ceil(total / 2)]
  })
}
