/** @file Activation functions by the names that AdapterHub's options give them. */
import { mul, neg, relu, sub } from '../../graph/index.ts'
import { type Activation, getActivation } from '../../nn/index.ts'

/** What PyTorch's leaky ReLU leaves of negative values. */
const SLOPE = 0.01

const leakyRelu: Activation = x => sub(relu(x), mul(relu(neg(x)), SLOPE))

/** The activation of an option such as `non_linearity`: Transformers' names, and `leakyrelu`. Throws for others. */
export function hubActivation(name: string): Activation {
  return name.toLowerCase() === 'leakyrelu' ? leakyRelu : getActivation(name.toLowerCase())
}
