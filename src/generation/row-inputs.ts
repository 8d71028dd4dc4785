/** @file Inputs that belong to rows: chosen and joined along their first axis. */
import { type TensorData, tensorData } from '../runtime/index.ts'

type RowInputs = Readonly<Record<string, TensorData>>

/** The inputs, which nobody writes to any more: the engine may keep them. */
export const constant = (inputs: RowInputs): RowInputs => mapValues(inputs, tensor => ({ ...tensor, isConstant: true }))

/** The rows `rows` of each tensor; the tensors themselves where these are all of them in their order. */
export function selectRows(inputs: RowInputs, rows: readonly number[]): RowInputs {
  return mapValues(inputs, tensor => {
    const [count, ...others] = tensor.dims
    if (count === rows.length && rows.every((row, i) => row === i)) return tensor
    const size = others.reduce((a, b) => a * b, 1)
    const chosen = emptyLike(tensor, [rows.length, ...others])
    for (const [i, row] of rows.entries()) {
      chosen.data.set(tensor.data.subarray(row * size, (row + 1) * size) as never, i * size)
    }
    return chosen
  })
}

/**
 * The rows of two sets of inputs under each other.
 *
 * @throws when the rows have different forms, as those that an encoder made of texts of different lengths
 */
export function appendRows(first: RowInputs, second: RowInputs): RowInputs {
  return mapValues(first, (tensor, name) => {
    const other = second[name]
    const [count, ...others] = tensor.dims
    if (other?.dims.slice(1).join() !== others.join()) {
      throw new Error(
        `Rows cannot join these: their input "${name}" has the form [${other?.dims ?? 'none'}], the others' is ` +
          `[${tensor.dims}]; generate for them by themselves`,
      )
    }
    const joined = emptyLike(tensor, [count + other.dims[0], ...others])
    joined.data.set(tensor.data as never)
    joined.data.set(other.data as never, tensor.data.length)
    return joined
  })
}

/** Zeros of the element type of `tensor`. The engine may keep them: nothing writes to them once they are filled. */
function emptyLike({ data, dtype }: TensorData, dims: readonly number[]): TensorData {
  const Array_ = data.constructor as new (length: number) => TensorData['data']
  return { ...tensorData(dtype, new Array_(dims.reduce((a, b) => a * b, 1)), dims), isConstant: true }
}

function mapValues(inputs: RowInputs, change: (tensor: TensorData, name: string) => TensorData): RowInputs {
  return Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, change(tensor, name)]))
}
