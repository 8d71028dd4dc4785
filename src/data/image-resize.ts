/** @file Resizing images as Pillow does: weights for the whole area that a pixel covers, in fixed-point numbers. */

/** An image of three channels, red, green and blue, row by row from the top: `height * width * 3` bytes. */
export interface RgbImage {
  width: number
  height: number
  data: Uint8Array | Uint8ClampedArray
}

/** The filters by Pillow's numbers, as `resample` in preprocessor_config.json says them. */
export const RESAMPLING = { lanczos: 1, bilinear: 2, bicubic: 3, box: 4 } as const

interface Filter {
  /** How far it reaches. */
  support: number
  weight: (distance: number) => number
}

const sinc = (x: number) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x))

/** The cubic's slope parameter. */
const SLOPE = -0.5

const FILTERS: Readonly<Record<number, Filter>> = {
  [RESAMPLING.lanczos]: { support: 3, weight: x => (x < 3 ? sinc(x) * sinc(x / 3) : 0) },
  [RESAMPLING.bilinear]: { support: 1, weight: x => Math.max(1 - x, 0) },
  [RESAMPLING.bicubic]: {
    support: 2,
    weight: x => {
      if (x < 1) return ((SLOPE + 2) * x - (SLOPE + 3)) * x * x + 1
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * SLOPE : 0
    },
  },
  [RESAMPLING.box]: { support: 0.5, weight: x => (x <= 0.5 ? 1 : 0) },
}

/** Fixed-point numbers have this many binary places. */
const ONE = 2 ** 22

/** What one pixel of the result is made of. */
interface Mixture {
  first: number
  /** In units of 1 / {@link ONE}. */
  weights: Float64Array
}

/** The pixels of one axis of the result. */
function mixtures(from: number, to: number, { support, weight }: Filter): Mixture[] {
  const scale = from / to
  // An image that gets smaller is averaged over all that a pixel covers.
  const stretch = Math.max(scale, 1)
  const reach = support * stretch
  return Array.from({ length: to }, (_, i) => {
    const center = (i + 0.5) * scale
    const first = Math.max(Math.trunc(center - reach + 0.5), 0)
    const last = Math.min(Math.trunc(center + reach + 0.5), from)
    const raw = Array.from({ length: last - first }, (_, j) => weight(Math.abs(first + j - center + 0.5) / stretch))
    const total = raw.reduce((a, b) => a + b, 0)
    const weights = Float64Array.from(raw, x => {
      const fixed = (x / total) * ONE
      return Math.trunc(fixed < 0 ? fixed - 0.5 : fixed + 0.5)
    })
    return { first, weights }
  })
}

const toByte = (sum: number) => Math.min(Math.max(Math.floor((sum + ONE / 2) / ONE), 0), 255)

/**
 * The image in another size.
 *
 * @param resample the filter, one of {@link RESAMPLING}
 * @throws for sizes that are no whole numbers, and for a filter that is not computed
 */
export function resizeImage(image: RgbImage, height: number, width: number, resample: number): RgbImage {
  const filter = FILTERS[resample]
  if (!filter) {
    const known = Object.entries(RESAMPLING).map(([name, number]) => `${number} (${name})`)
    throw new Error(`Could not resize an image: resample is ${resample}, expected one of ${known.join(', ')}.`)
  }
  if (![height, width].every(n => Number.isInteger(n) && n > 0)) {
    throw new Error(`Could not resize an image to ${height} x ${width}; expected whole numbers of pixels.`)
  }
  const wide = image.width === width ? image : resizeRows(image, width, filter)
  return image.height === height ? wide : resizeColumns(wide, height, filter)
}

function resizeRows({ data, height, width }: RgbImage, to: number, filter: Filter): RgbImage {
  const result = new Uint8Array(height * to * 3)
  const all = mixtures(width, to, filter)
  for (let row = 0, at = 0; row < height; row++) {
    const start = row * width * 3
    for (const { first, weights } of all) {
      let red = 0
      let green = 0
      let blue = 0
      for (let i = 0, from = start + first * 3; i < weights.length; i++, from += 3) {
        const weight = weights[i]
        red += weight * data[from]
        green += weight * data[from + 1]
        blue += weight * data[from + 2]
      }
      result[at++] = toByte(red)
      result[at++] = toByte(green)
      result[at++] = toByte(blue)
    }
  }
  return { width: to, height, data: result }
}

function resizeColumns({ data, height, width }: RgbImage, to: number, filter: Filter): RgbImage {
  const result = new Uint8Array(to * width * 3)
  const stride = width * 3
  const sums = new Float64Array(stride)
  for (const [y, { first, weights }] of mixtures(height, to, filter).entries()) {
    sums.fill(0)
    for (let j = 0; j < weights.length; j++) {
      const weight = weights[j]
      const start = (first + j) * stride
      for (let i = 0; i < stride; i++) sums[i] += weight * data[start + i]
    }
    for (let i = 0; i < stride; i++) result[y * stride + i] = toByte(sums[i])
  }
  return { width, height: to, data: result }
}
