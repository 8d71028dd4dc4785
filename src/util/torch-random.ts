/** @file PyTorch's CPU generator: the same seed gives the numbers that torch gives, so that its files can be rebuilt. */
import { fusedMultiplyAdd, logFloat32, sinCosFloat32 } from './single-precision.ts'

const f = Math.fround
const WORDS = 624
const SHIFT = 397
const TWO_PI = f(2 * Math.PI)
/** torch 2.15 draws 64 bits for ranges from here upwards. */
const WIDE_RANGE = 2 ** 28
/** The numbers of one vectorised step of torch's normal distribution. */
const BLOCK = 16

/**
 * `torch.Generator().manual_seed(seed)` on the CPU: a Mersenne twister (mt19937) with torch's transformations.
 *
 * Uniform numbers, integers and permutations are torch's to the bit on every machine. Normal ones are those of torch's
 * AVX2 kernels to the bit; torch itself gives other last bits on processors of another kind.
 */
export class TorchRandom {
  readonly #state = new Uint32Array(WORDS)
  #next = WORDS
  #spare: number | undefined

  /** @param seed an integer; as in torch only its low 32 bits count. */
  constructor(seed: number | bigint) {
    if (typeof seed === 'number' && !Number.isSafeInteger(seed)) {
      throw new Error(`TorchRandom: the seed must be an integer, got ${seed}`)
    }
    this.#state[0] = Number(BigInt.asUintN(32, BigInt(seed)))
    for (let i = 1; i < WORDS; i++) {
      const previous = this.#state[i - 1]
      this.#state[i] = Math.imul(1812433253, previous ^ (previous >>> 30)) + i
    }
  }

  /** The next 32 random bits, as an unsigned integer. */
  uint32(): number {
    if (this.#next === WORDS) this.#refill()
    let y = this.#state[this.#next++]
    y ^= y >>> 11
    y ^= (y << 7) & 0x9d2c5680
    y ^= (y << 15) & 0xefc60000
    return (y ^ (y >>> 18)) >>> 0
  }

  #refill(): void {
    const state = this.#state
    for (let i = 0; i < WORDS; i++) {
      const y = (state[i] & 0x80000000) | (state[(i + 1) % WORDS] & 0x7fffffff)
      state[i] = state[(i + SHIFT) % WORDS] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0)
    }
    this.#next = 0
  }

  /** A float64 in [0, 1) with 53 random bits. */
  #double(): number {
    const high = this.uint32() & 0x1fffff
    return (high * 2 ** 32 + this.uint32()) / 2 ** 53
  }

  /** A float32 in [0, 1) with 24 random bits. */
  #float(): number {
    return (this.uint32() & 0xffffff) / 2 ** 24
  }

  /**
   * `torch.empty(length).uniform_(from, to)`: float32 numbers in `[from, to)`.
   *
   * @throws when `from` is above `to`
   */
  uniform(length: number, from = 0, to = 1): Float32Array {
    if (!(from <= to)) throw new Error(`TorchRandom.uniform: expected from <= to, got from = ${from} and to = ${to}`)
    const [low, high] = [f(from), f(to)]
    const width = f(high - low)
    return Float32Array.from({ length }, () => {
      const value = fusedMultiplyAdd(this.#float(), width, low)
      return value === high ? low : value
    })
  }

  /**
   * `torch.empty(length).normal_(mean, std)`: normal float32 numbers. From 16 numbers upwards torch draws them in
   * blocks; fewer come in pairs, of which the second is kept for the next call.
   *
   * @throws when `std` is negative
   */
  normal(length: number, mean = 0, std = 1): Float32Array {
    if (!(std >= 0)) throw new Error(`TorchRandom.normal: expected std >= 0, got ${std}`)
    if (length < BLOCK) return Float32Array.from({ length }, () => this.#normal() * std + mean)
    const data = this.uniform(length)
    for (let start = 0; start + BLOCK <= length; start += BLOCK) {
      boxMuller(data.subarray(start, start + BLOCK), f(mean), f(std))
    }
    if (length % BLOCK !== 0) {
      // The last block is drawn anew, over numbers that stand already.
      const last = data.subarray(length - BLOCK)
      last.set(this.uniform(BLOCK))
      boxMuller(last, f(mean), f(std))
    }
    return data
  }

  #normal(): number {
    if (this.#spare !== undefined) {
      const value = this.#spare
      this.#spare = undefined
      return value
    }
    const angle = 2 * Math.PI * this.#double()
    const radius = Math.sqrt(-2 * Math.log1p(-this.#double()))
    this.#spare = radius * Math.sin(angle)
    return radius * Math.cos(angle)
  }

  /**
   * `torch.randint(low, high, (length,))`: integers in `[low, high)`.
   *
   * @throws when the range is empty, or its ends are not safe integers
   */
  randint(low: number, high: number, length: number): number[] {
    const range = high - low
    if (!(Number.isSafeInteger(low) && Number.isSafeInteger(high) && Number.isSafeInteger(range) && range > 0)) {
      throw new Error(`TorchRandom.randint: expected integers low < high within 2^53, got ${low} and ${high}`)
    }
    return Array.from({ length }, () => low + (range < WIDE_RANGE ? this.uint32() % range : this.#wide(range)))
  }

  #wide(range: number): number {
    const high = BigInt(this.uint32())
    return Number(((high << 32n) | BigInt(this.uint32())) % BigInt(range))
  }

  /**
   * `torch.randperm(n)`: the numbers 0 to n - 1 in random order.
   *
   * @throws when n is not an integer from 0 to 2^32 / 20, above which torch draws otherwise
   */
  randperm(n: number): Uint32Array {
    if (!(Number.isInteger(n) && n >= 0 && n < 2 ** 32 / 20)) {
      throw new Error(`TorchRandom.randperm: expected an integer from 0 to ${Math.floor(2 ** 32 / 20)}, got ${n}`)
    }
    const order = Uint32Array.from({ length: n }, (_, i) => i)
    for (let i = 0; i < n - 1; i++) {
      const other = i + (this.uint32() % (n - i))
      const value = order[i]
      order[i] = order[other]
      order[other] = value
    }
    return order
  }
}

/** Turns 16 uniform numbers into normal ones: the first half gives radii, the second angles. */
function boxMuller(block: Float32Array, mean: number, std: number): void {
  const half = BLOCK / 2
  for (let i = 0; i < half; i++) {
    const radius = f(Math.sqrt(-2 * logFloat32(f(1 - block[i]))))
    const [sine, cosine] = sinCosFloat32(f(TWO_PI * block[i + half]))
    block[i] = fusedMultiplyAdd(f(radius * cosine), std, mean)
    block[i + half] = fusedMultiplyAdd(f(radius * sine), std, mean)
  }
}
