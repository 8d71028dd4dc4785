/** @file Which entries of parameters a sparse adapter trains: how many, and those with the largest scores. */

/** Whether a share of the entries is taken of all parameters together, or of each parameter. */
export type MaskScope = 'global' | 'layer'

/** How many entries are a share of `size`; at least one. */
const shareOf = (size: number, share: number) => Math.min(size, Math.max(1, Math.round(share * size)))

/**
 * How many entries of each parameter are trained. With the scope `global` only their sum is meant: it is spread evenly,
 * until scores say which entries they are.
 */
export function allocate(sizes: readonly number[], share: number, scope: MaskScope): number[] {
  if (scope === 'layer') return sizes.map(size => shareOf(size, share))
  const size = sizes.reduce((sum, own) => sum + own, 0)
  if (size === 0) return sizes.map(() => 0)
  const total = shareOf(size, share)
  let [before, given] = [0, 0]
  return sizes.map(own => {
    before += own
    // In whole numbers, so that no rounding gives a parameter more than it has.
    const count = Number((BigInt(before) * BigInt(total)) / BigInt(size)) - given
    given += count
    return count
  })
}

/**
 * The positions of the `count` largest of all scores together, in ascending order for each array. Of equal scores the
 * first are taken, so that there are never more.
 *
 * @param scores numbers of at least 0
 */
export function largestEntries(scores: readonly Float32Array[], count: number): Uint32Array[] {
  const { bits: limit, above } = threshold(scores, count)
  let ties = count - above
  return scores.map(own => {
    const patterns = bitsOf(own)
    const chosen: number[] = []
    for (let i = 0; i < patterns.length; i++) {
      if (patterns[i] > limit || (patterns[i] === limit && ties-- > 0)) chosen.push(i)
    }
    return Uint32Array.from(chosen)
  })
}

/** Numbers of at least 0 are in the order of their bits. */
const bitsOf = (values: Float32Array) => new Uint32Array(values.buffer, values.byteOffset, values.length)

/** The bits of the `count`-th largest score, and how many lie above it: found by its upper half first, then its lower. */
function threshold(scores: readonly Float32Array[], count: number): { bits: number; above: number } {
  const find = (take: (bits: number) => number, above: number) => {
    const histogram = new Uint32Array(2 ** 16)
    for (const own of scores) {
      for (const bits of bitsOf(own)) {
        const bin = take(bits)
        if (bin >= 0) histogram[bin]++
      }
    }
    let bin = histogram.length - 1
    while (bin > 0 && above + histogram[bin] < count) above += histogram[bin--]
    return { bin, above }
  }
  const upper = find(bits => bits >>> 16, 0)
  const lower = find(bits => (bits >>> 16 === upper.bin ? bits & 0xffff : -1), upper.above)
  return { bits: upper.bin * 2 ** 16 + lower.bin, above: lower.above }
}
