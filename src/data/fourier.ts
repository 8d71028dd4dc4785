/** @file The discrete Fourier transform of real signals of any length. */

/** Computes the power spectrum of frames of one length. The work grows with the sum of the length's prime factors. */
export class PowerSpectrum {
  readonly length: number
  readonly #factors: readonly number[]
  readonly #cosines: Float64Array
  readonly #sines: Float64Array
  readonly #real: Float64Array
  readonly #imaginary: Float64Array
  readonly #scratch: Float64Array

  constructor(length: number) {
    this.length = length
    this.#factors = primeFactors(length)
    const angles = Array.from({ length }, (_, i) => (-2 * Math.PI * i) / length)
    this.#cosines = Float64Array.from(angles, Math.cos)
    this.#sines = Float64Array.from(angles, Math.sin)
    this.#real = new Float64Array(length)
    this.#imaginary = new Float64Array(length)
    this.#scratch = new Float64Array(2 * length)
  }

  /** The squared absolute values of the frequencies from 0 to half of the length, written to `power`. */
  compute(frame: Float64Array, power: Float64Array): void {
    this.#transform(frame, 0, 1, 0, 0)
    for (let i = 0; i < power.length; i++) power[i] = this.#real[i] ** 2 + this.#imaginary[i] ** 2
  }

  /** Transforms every `stride`-th element from `from` on; the result stands from `to` on. */
  #transform(frame: Float64Array, from: number, stride: number, to: number, depth: number): void {
    const [real, imaginary, scratch] = [this.#real, this.#imaginary, this.#scratch]
    const count = this.length / stride
    if (count === 1) {
      real[to] = frame[from]
      imaginary[to] = 0
      return
    }
    const parts = this.#factors[depth]
    const size = count / parts
    for (let part = 0; part < parts; part++) {
      this.#transform(frame, from + part * stride, stride * parts, to + part * size, depth + 1)
    }
    for (let i = 0; i < count; i++) {
      let [sumReal, sumImaginary] = [0, 0]
      for (let part = 0; part < parts; part++) {
        const at = to + part * size + (i % size)
        const angle = (i * part * stride) % this.length
        sumReal += real[at] * this.#cosines[angle] - imaginary[at] * this.#sines[angle]
        sumImaginary += real[at] * this.#sines[angle] + imaginary[at] * this.#cosines[angle]
      }
      scratch[2 * i] = sumReal
      scratch[2 * i + 1] = sumImaginary
    }
    for (let i = 0; i < count; i++) {
      real[to + i] = scratch[2 * i]
      imaginary[to + i] = scratch[2 * i + 1]
    }
  }
}

function primeFactors(value: number): number[] {
  const factors: number[] = []
  let rest = value
  for (let factor = 2; rest > 1; factor++) {
    while (rest % factor === 0) {
      factors.push(factor)
      rest /= factor
    }
  }
  return factors
}
