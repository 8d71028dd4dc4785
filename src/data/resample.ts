/** @file Another sampling rate for a recording: interpolation with windowed sincs. */
import type { Waveform } from './audio.ts'

/** Zero crossings of the sinc on each side. */
const ZEROS = 32
/** Where the pass band ends, as a share of the lower rate's half. */
const ROLLOFF = 0.95
/** The window's shape: about 90 dB of attenuation. */
const BETA = 9

/**
 * The recording at another sampling rate. What the lower of both rates cannot hold (above 95% of half of it) is taken
 * out, so that nothing of it comes back as another tone.
 *
 * @param samplingRate samples a second of the result
 * @throws for a rate that is no positive whole number
 */
export function resample(recording: Waveform, samplingRate: number): Waveform {
  const { samples, samplingRate: from } = recording
  for (const rate of [from, samplingRate]) {
    if (Number.isInteger(rate) && rate > 0) continue
    throw new Error(
      `Could not resample from ${from} to ${samplingRate} samples a second; expected whole numbers above 0.`,
    )
  }
  if (from === samplingRate) return recording
  const divisor = gcd(from, samplingRate)
  // The result's sample i stands at i * step / phases of the recording's samples.
  const [step, phases] = [from / divisor, samplingRate / divisor]
  const filters = new Array<Filter | undefined>(phases)
  const result = new Float32Array(Math.ceil((samples.length * phases) / step))
  for (let i = 0; i < result.length; i++) {
    const whole = Math.floor((i * step) / phases)
    const phase = (i * step) % phases
    const { first, weights } = (filters[phase] ??= filterOf(phase / phases, from, samplingRate))
    const start = whole + first
    let sum = 0
    // Beyond both ends there is silence.
    const last = Math.min(weights.length, samples.length - start)
    for (let j = Math.max(0, -start); j < last; j++) sum += weights[j] * samples[start + j]
    result[i] = sum
  }
  return { ...recording, samples: result, samplingRate }
}

interface Filter {
  /** The first sample that counts, beside the one at or before the wanted place. */
  first: number
  weights: Float64Array
}

/** The weights of the samples around a place that lies `offset` of a sample behind one. */
function filterOf(offset: number, from: number, to: number): Filter {
  const cutoff = Math.min(1, to / from) * ROLLOFF
  const reach = ZEROS / cutoff
  const first = Math.ceil(offset - reach)
  const count = Math.floor(offset + reach) - first + 1
  const weights = Float64Array.from({ length: count }, (_, j) => {
    const x = first + j - offset
    return sinc(x * cutoff) * kaiser(x / reach)
  })
  // A constant stays what it is, whatever the phase.
  const total = weights.reduce((a, b) => a + b, 0)
  return { first, weights: weights.map(weight => weight / total) }
}

const sinc = (x: number) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x))

const kaiser = (x: number) => bessel(BETA * Math.sqrt(Math.max(0, 1 - x * x))) / bessel(BETA)

/** The modified Bessel function of the first kind, of order 0. */
function bessel(x: number): number {
  let [sum, term] = [1, 1]
  for (let k = 1; term > sum * 1e-16; k++) {
    term *= (x / (2 * k)) ** 2
    sum += term
  }
  return sum
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b)
}
