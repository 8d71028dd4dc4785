/** @file Bands of the mel scale, in Slaney's form: linear up to 1000 Hz, logarithmic above. */

const LINEAR_TO = 1000
const HERTZ_PER_MEL = 200 / 3
const MELS_PER_UNIT = 27 / Math.log(6.4)

function toMel(hertz: number): number {
  if (hertz < LINEAR_TO) return hertz / HERTZ_PER_MEL
  return LINEAR_TO / HERTZ_PER_MEL + MELS_PER_UNIT * Math.log(hertz / LINEAR_TO)
}

function toHertz(mel: number): number {
  const linear = LINEAR_TO / HERTZ_PER_MEL
  return mel < linear ? mel * HERTZ_PER_MEL : LINEAR_TO * Math.exp((mel - linear) / MELS_PER_UNIT)
}

/** One band: the weights of neighbouring frequencies. */
export interface MelBand {
  /** The first frequency that counts. */
  first: number
  weights: Float64Array
}

/**
 * Triangular bands of equal area, equally wide on the mel scale.
 *
 * @param frequencies how many frequencies a spectrum has, from 0 to half the sampling rate
 * @param range the lowest and the highest frequency that count, in Hz
 */
export function melBands(
  count: number,
  frequencies: number,
  samplingRate: number,
  range: readonly [low: number, high: number],
): MelBand[] {
  const [low, high] = range.map(toMel)
  const edges = Array.from({ length: count + 2 }, (_, i) => toHertz(low + ((high - low) * i) / (count + 1)))
  const hertz = (i: number) => (i * samplingRate) / 2 / (frequencies - 1)
  return Array.from({ length: count }, (_, band) => {
    const [from, peak, to] = edges.slice(band, band + 3)
    const weight = (f: number) => Math.max(0, Math.min((f - from) / (peak - from), (to - f) / (to - peak)))
    const all = Array.from({ length: frequencies }, (_, i) => (weight(hertz(i)) * 2) / (to - from))
    const first = Math.max(
      all.findIndex(x => x > 0),
      0,
    )
    const last = all.findLastIndex(x => x > 0)
    return { first, weights: Float64Array.from(all.slice(first, last + 1)) }
  })
}
