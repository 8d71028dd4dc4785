/** @file The discrete Fourier transform of real signals of any length. */

/** One level of the transform: how spectra of parts become that of the whole. */
interface Level {
  /** How many parts. */
  parts: number
  /** How long the whole is. */
  count: number
  /** The turn of each part for each frequency, `[count, parts]`. */
  cosines: Float64Array
  sines: Float64Array
}

/** Computes the power spectrum of frames of one length. The work grows with the sum of the length's prime factors. */
export class PowerSpectrum {
  readonly length: number
  readonly #levels: readonly Level[]
  readonly #real: Float64Array
  readonly #imaginary: Float64Array
  readonly #scratch: Float64Array

  constructor(length: number) {
    this.length = length
    let count = length
    this.#levels = primeFactors(length).map(parts => {
      const level = levelOf(parts, count)
      count /= parts
      return level
    })
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
    const level = this.#levels[depth]
    if (!level) {
      real[to] = frame[from]
      imaginary[to] = 0
      return
    }
    const { parts, count, cosines, sines } = level
    const size = count / parts
    for (let part = 0; part < parts; part++) {
      this.#transform(frame, from + part * stride, stride * parts, to + part * size, depth + 1)
    }
    let turn = 0
    for (let block = 0; block < parts; block++) {
      for (let i = 0; i < size; i++) {
        let sumReal = 0
        let sumImaginary = 0
        for (let at = to + i, part = 0; part < parts; part++, at += size, turn++) {
          sumReal += real[at] * cosines[turn] - imaginary[at] * sines[turn]
          sumImaginary += real[at] * sines[turn] + imaginary[at] * cosines[turn]
        }
        const frequency = block * size + i
        scratch[2 * frequency] = sumReal
        scratch[2 * frequency + 1] = sumImaginary
      }
    }
    for (let i = 0; i < count; i++) {
      real[to + i] = scratch[2 * i]
      imaginary[to + i] = scratch[2 * i + 1]
    }
  }
}

function levelOf(parts: number, count: number): Level {
  const turns = Float64Array.from({ length: count * parts }, (_, i) => {
    const [frequency, part] = [Math.floor(i / parts), i % parts]
    return (-2 * Math.PI * ((frequency * part) % count)) / count
  })
  return { parts, count, cosines: turns.map(Math.cos), sines: turns.map(Math.sin) }
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
