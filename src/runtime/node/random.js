/** @file Random masks for dropout, drawn in the worker: one byte of randomness an element where that decides. */

/**
 * Fills `mask` with `1 / keep` (probability `keep`) and 0. Each element takes one byte of a stream of random bits
 * (sfc32); only where that byte alone cannot decide are 32 more bits drawn, so `keep` is met to 2^-40.
 *
 * @param {Float32Array} mask
 * @param {number} keep
 * @param {number} seed of the run
 * @param {number} site which of the run's masks this is
 */
export function fillDropoutMask(mask, keep, seed, site) {
  const threshold = Math.floor(keep * 256)
  const fraction = (keep * 256 - threshold) * 4294967296
  const value = 1 / keep
  // The bits of the value, masked by the sign of a difference: a branch on random bits is guessed wrongly too often.
  const words = new Int32Array(mask.buffer, mask.byteOffset, mask.length)
  const valueBits = new Int32Array(Float32Array.of(value).buffer)[0]
  let [a, b, c, counter] = startingState(seed, site)
  const { length } = mask
  for (let i = 0; i < length; i += 4) {
    const bits = (((a + b) | 0) + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (((c << 21) | (c >>> 11)) + bits) | 0
    words[i] = (((bits & 255) - threshold) >> 31) & valueBits
    words[i + 1] = ((((bits >>> 8) & 255) - threshold) >> 31) & valueBits
    words[i + 2] = ((((bits >>> 16) & 255) - threshold) >> 31) & valueBits
    words[i + 3] = (((bits >>> 24) - threshold) >> 31) & valueBits
    // Bytes that equal the threshold are rare: a word that holds one has a zero byte after the exclusive or.
    const equal = bits ^ (threshold * 0x01010101)
    if (((equal - 0x01010101) & ~equal & 0x80808080) === 0) continue
    for (let j = 0; j < 4; j++) {
      if (((bits >>> (8 * j)) & 255) !== threshold) continue
      const more = Math.imul(bits ^ Math.imul(i + j + 1, 0x9e3779b1), 0x85ebca6b)
      mask[i + j] = (more ^ (more >>> 15)) >>> 0 < fraction ? value : 0
    }
  }
}

/**
 * The state of the generator for a seed and a site, mixed so that neighbouring ones have nothing in common.
 *
 * @param {number} seed
 * @param {number} site
 * @returns {[number, number, number, number]}
 */
function startingState(seed, site) {
  let a = Math.floor(seed) | 0
  let b = Math.floor(seed / 4294967296) ^ 0x5bd1e995
  let c = Math.imul(site + 1, 0x9e3779b1)
  let counter = 1
  for (let i = 0; i < 16; i++) {
    const bits = (((a + b) | 0) + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (((c << 21) | (c >>> 11)) + bits) | 0
  }
  return [a, b, c, counter]
}
