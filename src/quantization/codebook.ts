/** @file The tables of 4-bit values, and the nearest entry of a table. */

/**
 * The 4-bit normal float of QLoRA (arXiv 2305.14314, appendix E): quantiles of a normal distribution, scaled to [-1, 1],
 * zero among them.
 */
const NF4 = [
  -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
]

/** A float of one sign bit, two exponent bits and one mantissa bit, scaled so that its largest value is 1. */
const FP4 = [0, 0.0625 / 12, 8 / 12, 12 / 12, 4 / 12, 6 / 12, 2 / 12, 3 / 12]

/** The values that the 16 codes of a scheme stand for. */
export const CODEBOOKS: Readonly<Record<'nf4' | 'fp4', Float32Array>> = {
  nf4: Float32Array.from(NF4),
  fp4: Float32Array.from([...FP4, ...FP4.map(value => -value)]),
}

/** Into how many equal parts [-1, 1] is cut; narrower than what lies between two bounds of a 4-bit table. */
const CELLS = 1024

/** Finds the nearest of a table's values. */
export class NearestEntry {
  readonly #positions: Uint8Array
  readonly #bounds: Float32Array

  /** @param table at most 256 values */
  constructor(table: Float32Array) {
    const order = [...table.keys()].sort((a, b) => table[a] - table[b] || a - b)
    // Of equal values (the two zeros of a float) the first is taken.
    const distinct = order.filter((at, i) => i === 0 || table[at] !== table[order[i - 1]])
    this.#positions = Uint8Array.from(distinct)
    this.#bounds = Float32Array.from(distinct.slice(1), (at, i) => (table[distinct[i]] + table[at]) / 2)
  }

  /** The position in the table of the value nearest to `value`; of two equally near, the lower. */
  of(value: number): number {
    return this.#positions[this.#rank(value)]
  }

  #rank(value: number): number {
    const bounds = this.#bounds
    let low = 0
    let high = bounds.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (value > bounds[middle]) low = middle + 1
      else high = middle
    }
    return low
  }

  /** The same by one look-up and one comparison. Throws where two bounds lie in one cell. */
  cells(): NearestCells {
    const length = CELLS + 2
    const [bounds, below, above] = [new Float32Array(length), new Uint8Array(length), new Uint8Array(length)]
    for (let cell = 0; cell < length; cell++) {
      const [start, end] = [cell, cell + 1].map(at => this.#rank((2 * at) / CELLS - 1))
      if (end > start + 1) throw new Error(`The table has two bounds within 1/${CELLS / 2}`)
      bounds[cell] = end > start ? this.#bounds[start] : Number.POSITIVE_INFINITY
      below[cell] = this.#positions[start]
      above[cell] = this.#positions[end]
    }
    return { scale: CELLS / 2, bounds, below, above }
  }
}

/**
 * The nearest entries of the values in [-1, 1], by cells of equal width: in `cell = (value + 1) * scale`, rounded towards
 * zero, those up to `bounds[cell]` take the position `below[cell]`, and the others `above[cell]`.
 */
export interface NearestCells {
  readonly scale: number
  readonly bounds: Float32Array
  readonly below: Uint8Array
  readonly above: Uint8Array
}

/**
 * The 256 values of bitsandbytes' dynamic 8-bit map (arXiv 2110.02861): signed numbers whose leading zeros are the
 * exponent to base ten, and the rest a linear fraction in [0.1, 1].
 */
export function dynamicMap(): Float32Array {
  const { fround } = Math
  const values = [0, 1]
  for (let exponent = 0; exponent < 7; exponent++) {
    const steps = 2 ** exponent
    for (let i = 0; i < steps; i++) {
      const bound = (at: number) => fround(0.1 + (0.9 * at) / steps)
      const middle = fround(fround(bound(i) + bound(i + 1)) / 2)
      const value = fround(fround(10 ** (exponent - 6)) * middle)
      values.push(value, -value)
    }
  }
  return Float32Array.from(values).sort()
}
