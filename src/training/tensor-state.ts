/** @file Values of a training as tensors of a checkpoint: of parameters under their names, of optimizers as flat vectors. */
import type { ParameterVector } from '../nn/index.ts'
import type { TensorEntry } from '../weights/index.ts'
import { CheckpointError } from './errors.ts'
import type { OptimizerState } from './optimizers/optimizer.ts'

/** The tensors of a file. */
export type Tensors = ReadonlyMap<string, Float32Array>

/** Values laid out as the parameters of `vector`, under the names of these. */
export function namedEntries(vector: ParameterVector, values: Float32Array): TensorEntry[] {
  return vector.slices.map(({ name, parameter, offset, size }) => ({
    name,
    dtype: 'F32',
    shape: parameter.shape,
    bytes: values.subarray(offset, offset + size),
  }))
}

/** The values that {@link namedEntries} wrote. */
export function namedValues(vector: ParameterVector, tensors: Tensors, file: string): Float32Array {
  const values = new Float32Array(vector.size)
  for (const { name, offset, size } of vector.slices) {
    const found = tensors.get(name)
    if (found?.length !== size) {
      throw new CheckpointError(
        `${file} of the checkpoint has ${found ? `${found.length} values` : 'no values'} for "${name}", expected ${size}.`,
      )
    }
    values.set(found, offset)
  }
  return values
}

/** The vectors of an optimizer; those without values are left out. */
export function optimizerEntries({ vectors }: OptimizerState, prefix = ''): TensorEntry[] {
  return Object.entries(vectors)
    .filter(([, vector]) => vector.length > 0)
    .map(([name, vector]) => ({ name: `${prefix}${name}`, dtype: 'F32', shape: [vector.length], bytes: vector }))
}

/** The vectors that {@link optimizerEntries} wrote, by the names of `like`. */
export function optimizerVectors(
  like: OptimizerState,
  tensors: Tensors | undefined,
  prefix = '',
): Record<string, Float32Array> {
  const names = Object.keys(like.vectors)
  return Object.fromEntries(names.map(name => [name, tensors?.get(`${prefix}${name}`) ?? new Float32Array(0)]))
}
