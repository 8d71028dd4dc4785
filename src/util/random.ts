/** @file Seeded pseudo-random numbers: the same seed gives the same sequence on every machine. */

/**
 * A seeded generator (sfc32, seeded through splitmix32). Its whole state is four 32-bit words, so a training
 * checkpoint can hold it.
 */
export class Random {
  #a: number
  #b: number
  #c: number
  #d: number
  #spare: number | undefined

  /** @param seed any number; its integer part modulo 2^32 and the high bits both count. */
  constructor(seed = 0) {
    let s = (Math.floor(seed) ^ Math.floor(seed / 2 ** 32)) | 0
    const next = () => {
      s = (s + 0x9e3779b9) | 0
      let t = s ^ (s >>> 16)
      t = Math.imul(t, 0x21f0aaad)
      t ^= t >>> 15
      t = Math.imul(t, 0x735a2d97)
      return t ^ (t >>> 15)
    }
    this.#a = next()
    this.#b = next()
    this.#c = next()
    this.#d = 1
    for (let i = 0; i < 12; i++) this.uint32()
  }

  /** The next 32 random bits, as an unsigned integer. */
  uint32(): number {
    const t = (((this.#a + this.#b) | 0) + this.#d) | 0
    this.#d = (this.#d + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (this.#c << 21) | (this.#c >>> 11)
    this.#c = (this.#c + t) | 0
    return t >>> 0
  }

  /** A number in [0, 1) with 53 random bits. */
  uniform(): number {
    return ((this.uint32() >>> 5) * 67108864 + (this.uint32() >>> 6)) / 9007199254740992
  }

  /** A standard normal number (Box-Muller; every second call is free). */
  normal(): number {
    if (this.#spare !== undefined) {
      const value = this.#spare
      this.#spare = undefined
      return value
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()))
    const angle = 2 * Math.PI * this.uniform()
    this.#spare = radius * Math.sin(angle)
    return radius * Math.cos(angle)
  }

  /** An integer in [0, n). */
  integer(n: number): number {
    return Math.floor(this.uniform() * n)
  }

  /** Shuffles `items` in place (Fisher-Yates) and returns them. */
  shuffle<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.integer(i + 1)
      ;[items[i], items[j]] = [items[j], items[i]]
    }
    return items
  }

  /** One element of `items`. */
  choice<T>(items: readonly T[]): T {
    return items[this.integer(items.length)]
  }

  /** The generator of `seed` that belongs to `name`: what other names draw, and in which order, does not move it. */
  static forName(name: string, seed: number): Random {
    return new Random(hashString(name) ^ Math.imul(seed + 1, 0x9e3779b1))
  }

  /** A generator of its own for `name`, so that adding one consumer does not move the numbers of another. */
  fork(name: string): Random {
    return new Random(hashString(name) ^ this.uint32())
  }

  /** The state, to be given to {@link Random.restore}. */
  state(): number[] {
    const spare = this.#spare === undefined ? [] : [this.#spare]
    return [this.#a >>> 0, this.#b >>> 0, this.#c >>> 0, this.#d >>> 0, ...spare]
  }

  /** A generator that continues where {@link Random.state} was taken. */
  static restore(state: readonly number[]): Random {
    const random = new Random(0)
    ;[random.#a, random.#b, random.#c, random.#d] = [state[0] | 0, state[1] | 0, state[2] | 0, state[3] | 0]
    random.#spare = state[4]
    return random
  }
}

/** A 32-bit hash of a string (FNV-1a). */
export function hashString(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return hash >>> 0
}
