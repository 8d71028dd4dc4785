/** @file Random masks for dropout, drawn in the worker. Their cost is part of every training step. */

/** Above this share of zeros every element is drawn; below it only the distances between zeros are. */
const DENSE = 0.25

/**
 * Fills `mask` with `1 / keep` (probability `keep`) and 0, each element independently. The same seed and site give the
 * same mask.
 *
 * @param {Float32Array} mask
 * @param {number} keep
 * @param {number} seed of the run
 * @param {number} site which of the run's masks this is
 */
export function fillDropoutMask(mask, keep, seed, site) {
  const next = generator(seed, site)
  const value = 1 / keep
  if (keep === 1) {
    mask.fill(1)
  } else if (1 - keep <= DENSE) {
    // The number of elements kept between two zeros is geometric: half a word of random bits is drawn for each zero.
    mask.fill(value)
    const gaps = gapTable(keep)
    for (let i = -1; ; ) {
      const bits = next()
      i += 1 + gaps[bits & 0xffff]
      if (i >= mask.length) break
      mask[i] = 0
      i += 1 + gaps[bits >>> 16]
      if (i >= mask.length) break
      mask[i] = 0
    }
  } else {
    const threshold = keep * 4294967296
    for (let i = 0; i < mask.length; i++) mask[i] = next() >>> 0 < threshold ? value : 0
  }
}

/** @type {Map<number, Uint32Array>} */
const gapTables = new Map()

/**
 * The inverse of the geometric distribution, `floor(log(u) / log(keep))`, at 65,536 equally likely points; the share of
 * zeros is met to a few millionths.
 *
 * @param {number} keep
 */
function gapTable(keep) {
  let table = gapTables.get(keep)
  if (!table) {
    const scale = 1 / Math.log(keep)
    table = Uint32Array.from({ length: 65536 }, (_, i) => Math.min(Math.log((i + 0.5) / 65536) * scale, 0xffffffff))
    gapTables.set(keep, table)
  }
  return table
}

/**
 * A stream of 32-bit integers (sfc32), mixed so that neighbouring seeds and sites have nothing in common.
 *
 * @param {number} seed
 * @param {number} site
 */
function generator(seed, site) {
  let a = Math.floor(seed) | 0
  let b = Math.floor(seed / 4294967296) ^ 0x5bd1e995
  let c = Math.imul(site + 1, 0x9e3779b1)
  let counter = 1
  const next = () => {
    const bits = (((a + b) | 0) + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (((c << 21) | (c >>> 11)) + bits) | 0
    return bits
  }
  for (let i = 0; i < 16; i++) next()
  return next
}
