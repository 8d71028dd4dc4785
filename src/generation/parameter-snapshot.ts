/** @file The values of the parameters that vary, as they are at one moment. */
import type { Parameter } from '../nn/index.ts'
import type { TensorData } from '../runtime/index.ts'

/**
 * Copies of values, one parameter after another. What is in memory is copied when this is made, so that training while
 * a generation runs does not change it half way; what still lies in a file is read later.
 */
export class ParameterSnapshot {
  readonly #data: Float32Array
  readonly #missing: { parameter: Parameter; offset: number }[] = []

  constructor(parameters: readonly Parameter[]) {
    this.#data = new Float32Array(parameters.reduce((size, parameter) => size + parameter.size, 0))
    let offset = 0
    for (const parameter of parameters) {
      if (parameter.isLoaded) this.#data.set(parameter.data, offset)
      else this.#missing.push({ parameter, offset })
      offset += parameter.size
    }
  }

  /** The values, `[size]`. */
  async read(): Promise<TensorData> {
    for (const { parameter, offset } of this.#missing.splice(0)) this.#data.set(await parameter.read(), offset)
    return { dtype: 'float32', dims: [this.#data.length], data: this.#data }
  }
}
