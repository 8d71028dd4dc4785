/** @file Softmax and the normalisations of a layer. */
import { defineOperator, graphOf, type Operand, type Tensor, toTensor } from '../graph.ts'
import { normalizeAxis } from './shape.ts'

defineOperator('Softmax', ([x]) => [x])
defineOperator('LogSoftmax', ([x]) => [x])

/** Exponentials along `axis`, divided by their sum. */
export function softmax(x: Operand, axis = -1): Tensor {
  const tensor = toTensor(graphOf([x]), x)
  return tensor.graph.add('Softmax', [tensor], { axis: normalizeAxis(axis, tensor.rank) })[0]
}

/** The logarithm of {@link softmax}, computed without overflow. */
export function logSoftmax(x: Operand, axis = -1): Tensor {
  const tensor = toTensor(graphOf([x]), x)
  return tensor.graph.add('LogSoftmax', [tensor], { axis: normalizeAxis(axis, tensor.rank) })[0]
}

const requireWidth = (x: Tensor, name: string, vector: Tensor) => {
  if (vector.rank !== 1 || vector.shape[0] !== x.shape.at(-1)) {
    throw new Error(`the ${name} must have shape [${x.shape.at(-1)}], not ${vector}`)
  }
}

defineOperator('LayerNorm', ([x, weight, bias]) => {
  requireWidth(x, 'weight', weight)
  if (bias) requireWidth(x, 'bias', bias)
  const row = [...x.shape.slice(0, -1), 1]
  return [x, { dtype: x.dtype, shape: row }, { dtype: x.dtype, shape: row }]
})

/**
 * Normalises the last axis to mean 0 and variance 1, then scales and shifts (arXiv 1607.06450).
 *
 * @param x `[..., width]`
 * @param weight `[width]`
 * @param bias `[width]`
 */
export function layerNorm(x: Operand, weight: Operand, bias: Operand | undefined, epsilon: number): Tensor {
  const graph = graphOf([x, weight])
  const inputs = [toTensor(graph, x), toTensor(graph, weight)]
  if (bias !== undefined) inputs.push(toTensor(graph, bias))
  return graph.add('LayerNorm', inputs, { epsilon })[0]
}

defineOperator('RmsNorm', ([x, weight]) => {
  requireWidth(x, 'weight', weight)
  return [x, { dtype: x.dtype, shape: [...x.shape.slice(0, -1), 1] }]
})

/** `x / sqrt(mean(x²) + epsilon) * weight` over the last axis (arXiv 1910.07467). */
export function rmsNorm(x: Operand, weight: Operand, epsilon: number): Tensor {
  const graph = graphOf([x, weight])
  return graph.add('RmsNorm', [toTensor(graph, x), toTensor(graph, weight)], { epsilon })[0]
}
