/** @file For tests: gradients against central finite differences. */
import { type DType, Graph, mul, type Shape, sum, type Tensor } from '../../graph/index.ts'
import { defaultEngine, type TensorData, tensorData } from '../../runtime/index.ts'
import { largestDifference, randomData } from '../../runtime/testing/run.ts'
import { gradients } from '../index.ts'

/** An input of a case: its values, and the shape it is declared with where that is symbolic. */
export interface CaseInput {
  data: TensorData
  shape?: Shape
}

/** A function to differentiate, with the point at which that is done. */
export interface GradientCase {
  name: string
  inputs: readonly CaseInput[]
  build(...inputs: Tensor[]): Tensor
  /** The inputs to differentiate by; all float ones by default. */
  wrt?: readonly number[]
}

let seed = 100

/** Random values of one sign or the other, at least 0.2 away from zero, where many functions have a kink. */
export function float(...dims: number[]): CaseInput {
  const data = randomData(dims, seed++)
  data.data.forEach((value, i) => {
    data.data[i] = Math.sign(value) * (0.2 + Math.abs(value))
  })
  return { data }
}

/** Random values in `[low, high)`. */
export function floatIn(low: number, high: number, ...dims: number[]): CaseInput {
  return { data: randomData(dims, seed++, low, high) }
}

/** Given values. */
export function given(values: Parameters<typeof tensorData>[1], dtype: DType = 'float32', shape?: Shape): CaseInput {
  return { data: tensorData(dtype, values), shape }
}

/** The same input, declared with a symbolic shape. */
export function declared(input: CaseInput, ...shape: Shape): CaseInput {
  return { ...input, shape }
}

/** Builds a case in a new graph. */
export function trace({ inputs, build }: GradientCase): { graph: Graph; tensors: Tensor[]; output: Tensor } {
  const graph = new Graph()
  const tensors = inputs.map(({ data, shape }, i) => graph.input(`input${i}`, data.dtype, shape ?? data.dims))
  return { graph, tensors, output: graph.trace(() => build(...tensors)) }
}

/**
 * How far the gradients of `sum(output * random)` lie from central differences of step `step`, for each input,
 * relative to the largest component of that gradient. Output differences are summed in float64.
 */
export async function gradientErrors(test: GradientCase, step = 1e-2): Promise<{ input: number; error: number }[]> {
  const { graph, tensors, output } = trace(test)
  const wrt = test.wrt ?? tensors.flatMap((tensor, i) => (tensor.dtype === 'float32' ? [i] : []))
  const weights = graph.input('weights', 'float32', output.shape)
  const grads = gradients(
    sum(mul(output, weights)),
    wrt.map(i => tensors[i]),
  )
  const engine = await defaultEngine()
  await using forward = await engine.compile({ output })
  await using backward = await engine.compile(Object.fromEntries(grads.map((grad, i) => [`gradient${wrt[i]}`, grad])))
  const feeds = Object.fromEntries(test.inputs.map(({ data }, i) => [`input${i}`, data]))
  const evaluate = async (changed: Record<string, TensorData>) => (await forward.run({ ...feeds, ...changed })).output
  const { dims, data } = await evaluate({})
  const random = randomData(dims, 7, 0.5, 1.5)
  random.data.forEach((value, i) => {
    random.data[i] = i % 2 ? -value : value
  })
  const found = await backward.run({ ...feeds, weights: random })
  if (Array.from(data as Float32Array).some(value => !Number.isFinite(value)))
    throw new Error('the output is not finite')
  const results: { input: number; error: number }[] = []
  for (const i of wrt) {
    const point = test.inputs[i].data
    const expected: number[] = []
    for (let element = 0; element < point.data.length; element++) {
      const moved = async (by: number) => {
        const values = (point.data as Float32Array).slice()
        values[element] += by
        return { at: values[element], output: await evaluate({ [`input${i}`]: { ...point, data: values } }) }
      }
      const [up, down] = [await moved(step), await moved(-step)]
      let difference = 0
      up.output.data.forEach((value: number | bigint, k: number) => {
        difference += random.data[k] * (Number(value) - Number(down.output.data[k]))
      })
      expected.push(difference / (up.at - down.at))
    }
    const scale = Math.max(1e-3, ...expected.map(Math.abs))
    results.push({ input: i, error: largestDifference(found[`gradient${i}`].data as Float32Array, expected) / scale })
  }
  return results
}
