/** @file Gradients of convolutions and pooling. */
import {
  convolution,
  multiplyDims,
  reshape,
  scatterAddElements,
  slice,
  sum,
  type Tensor,
  transpose,
  transposedConvolution,
  unreachedElements,
  type WindowAttributes,
  type WindowOptions,
  zeros,
} from '../../graph/index.ts'
import { defineGradient, type RuleContext } from '../rule.ts'

interface Attributes extends WindowAttributes {
  groups: number
}

/** The windows of a node, with steps and dilation in each other's place on request. */
function optionsOf({ strides, pads, dilations }: WindowAttributes, exchanged = false): WindowOptions {
  const padding = strides.map((_, axis) => [pads[axis], pads[axis + strides.length]] as const)
  return exchanged
    ? { stride: dilations, padding, dilation: strides }
    : { stride: strides, padding, dilation: dilations }
}

/** x with its first two axes exchanged. */
function exchangeChannels(x: Tensor): Tensor {
  return transpose(x, [1, 0, ...Array.from({ length: x.rank - 2 }, (_, i) => i + 2)])
}

/**
 * The gradient of a convolution by its weight, which is a convolution itself: the upstream gradient is the kernel, the
 * batch takes the place of the channels, and stride and dilation change roles.
 */
function weightGradient(x: Tensor, upstream: Tensor, weight: Tensor, attributes: Attributes): Tensor {
  const { groups } = attributes
  const [batch, , ...lengths] = x.shape
  const inputs = weight.shape[1]
  const split = reshape(x, [batch, groups, inputs, ...lengths])
  const order = [2, 1, 0, ...lengths.map((_, i) => i + 3)]
  const rows = reshape(transpose(split, order), [inputs, multiplyDims(groups, batch), ...lengths])
  const options = { ...optionsOf(attributes, true), groups }
  const full = convolution(rows, exchangeChannels(upstream), undefined, options)
  // Elements that no window reached give positions behind the kernel.
  const exact = weight.shape.slice(2).reduce<Tensor>((part, size, axis) => slice(part, axis + 2, 0, size), full)
  return exchangeChannels(exact)
}

function giveBias({ inputs, grad, needs, give }: RuleContext): void {
  if (inputs[2] && needs(2)) give(2, sum(grad, [0, ...grad.shape.slice(2).map((_, i) => i + 2)]))
}

defineGradient('Conv', context => {
  const { node, grad, inputs, needs, give } = context
  const [x, weight] = inputs
  const attributes = node.attributes as unknown as Attributes
  const { groups } = attributes
  if (needs(0)) {
    const outputPadding = unreachedElements(x, weight, attributes)
    give(0, transposedConvolution(grad, weight, undefined, { ...optionsOf(attributes), groups, outputPadding }))
  }
  if (needs(1)) give(1, weightGradient(x, grad, weight, attributes))
  giveBias(context)
})

defineGradient('ConvTranspose', context => {
  const { node, grad, inputs, needs, give } = context
  const [x, weight] = inputs
  const attributes = node.attributes as unknown as Attributes
  const { groups } = attributes
  if (needs(0)) give(0, convolution(grad, weight, undefined, { ...optionsOf(attributes), groups }))
  if (needs(1)) give(1, weightGradient(grad, x, weight, attributes))
  giveBias(context)
})

defineGradient('MaxPool', ({ grad, inputs: [x], outputs: [, positions], give }) => {
  const empty = zeros(grad.graph, [multiplyDims(...x.shape)], x.dtype)
  give(0, reshape(scatterAddElements(empty, reshape(positions, [-1]), reshape(grad, [-1]), 0), x.shape))
})
