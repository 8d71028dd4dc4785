/** @file Activation functions by the names that configurations give them. */
import { gelu, mul, type Operand, relu, sigmoid, silu, type Tensor, tanh } from '../graph/index.ts'
import { didYouMean } from '../util/nearest.ts'

/** An activation function. */
export type Activation = (x: Operand) => Tensor

/** The activations by Transformers' names. */
export const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  gelu: x => gelu(x),
  gelu_new: x => gelu(x, 'tanh'),
  gelu_pytorch_tanh: x => gelu(x, 'tanh'),
  gelu_fast: x => gelu(x, 'tanh'),
  quick_gelu: x => mul(x, sigmoid(mul(x, 1.702))),
  relu: x => relu(x),
  silu: x => silu(x),
  swish: x => silu(x),
  tanh: x => tanh(x),
  sigmoid: x => sigmoid(x),
}

/** The activation called `name`. Throws for an unknown one, naming the nearest. */
export function getActivation(name: string): Activation {
  const activation = Object.hasOwn(ACTIVATIONS, name) ? ACTIVATIONS[name] : undefined
  if (!activation) {
    throw new Error(
      `The activation "${name}" is not known.${didYouMean(name, Object.keys(ACTIVATIONS))} Known: ${Object.keys(ACTIVATIONS).join(', ')}.`,
    )
  }
  return activation
}
