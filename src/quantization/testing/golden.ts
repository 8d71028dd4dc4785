/** @file What bitsandbytes made of numbers that anyone can make again. */
import { readFileSync } from 'node:fs'

/** The outcome of bitsandbytes' 4-bit quantisation with double quantisation. */
export interface Golden {
  /** base64 */
  packed: string
  absmax: number[]
  nested_absmax: number[]
  /** JSON text of its quantisation state. */
  state: string
  /** The first dequantised values. */
  values: number[]
  /** The last ones. */
  last: number[]
  /** The dynamic 8-bit map at positions 0, 1, 100, 127, 128, 200, 254 and 255. */
  map: number[]
  /** The sum of the magnitudes of all dequantised values. */
  sum: number
}

/** Its file says how it was made. */
export const golden: Golden = JSON.parse(readFileSync(new URL('./bitsandbytes-nf4.json', import.meta.url), 'utf8'))

/** The matrix of 32 x 64 values that it was made of. */
export function goldenValues(): Float32Array {
  const numbers = (seed: number) => {
    let state = seed
    return Array.from({ length: 2048 }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      return state / 2 ** 32 - 0.5
    })
  }
  const spread = numbers(2)
  return Float32Array.from(numbers(1), (value, i) => value * (0.02 + spread[i] ** 2))
}
