/** @file The memory that ONNX Runtime's arena takes from the system for buffers of known sizes and lifetimes. */

/** A piece of memory: from the node at position `first` to that at `last`. */
export interface Lifetime {
  bytes: number
  first: number
  last: number
}

interface Chunk {
  region: number
  start: number
  size: number
  isFree: boolean
  next?: Chunk
  previous?: Chunk
}

const UNIT = 256
const FIRST_REGION = 2 ** 20
/** A free chunk that is this much larger than what is asked for is always split; others where they are twice as large. */
const LARGE_REST = 128 * 2 ** 20
/** Memory counts as taken from where it was written first, by pieces of this size. */
const PAGE = 2 ** 14

/**
 * Simulates the arena (best fit, regions that double in size) and gives the bytes that were ever written: the system
 * gives no more, and the arena returns nothing.
 */
export function arenaBytes(buffers: readonly Lifetime[]): number {
  const wanted = buffers.filter(({ bytes }) => bytes > 0)
  const starts = groupBy(wanted, 'first')
  const ends = groupBy(wanted, 'last')
  const steps = [...new Set([...starts.keys(), ...ends.keys()])].sort((a, b) => a - b)
  const arena = new Arena()
  const places = new Map<Lifetime, Chunk>()
  for (const step of steps) {
    for (const buffer of starts.get(step) ?? []) places.set(buffer, arena.allocate(buffer.bytes))
    for (const buffer of ends.get(step) ?? []) arena.free(places.get(buffer)!)
  }
  return arena.written
}

function groupBy(buffers: readonly Lifetime[], key: 'first' | 'last'): Map<number, Lifetime[]> {
  const groups = new Map<number, Lifetime[]>()
  for (const buffer of buffers) groups.set(buffer[key], [...(groups.get(buffer[key]) ?? []), buffer])
  return groups
}

class Arena {
  readonly #free = new Set<Chunk>()
  readonly #regions: Uint8Array[] = []
  #next = FIRST_REGION

  /** The bytes of all pages that any chunk in use has covered. */
  get written(): number {
    return this.#regions.reduce((sum, pages) => sum + pages.reduce((count, page) => count + page, 0) * PAGE, 0)
  }

  allocate(bytes: number): Chunk {
    const size = Math.ceil(bytes / UNIT) * UNIT
    const chunk = this.#best(size) ?? this.#extend(size)
    this.#free.delete(chunk)
    chunk.isFree = false
    if (chunk.size >= 2 * size || chunk.size - size >= LARGE_REST) this.#split(chunk, size)
    this.#regions[chunk.region].fill(1, Math.floor(chunk.start / PAGE), Math.ceil((chunk.start + size) / PAGE))
    return chunk
  }

  free(chunk: Chunk): void {
    chunk.isFree = true
    let merged = chunk
    const { previous, next } = chunk
    if (next?.isFree) merged = this.#merge(chunk, next)
    if (previous?.isFree) merged = this.#merge(previous, merged)
    this.#free.add(merged)
  }

  #best(size: number): Chunk | undefined {
    let best: Chunk | undefined
    for (const chunk of this.#free) {
      if (chunk.size < size) continue
      const isBetter =
        !best ||
        chunk.size < best.size ||
        (chunk.size === best.size && (chunk.region - best.region || chunk.start - best.start) < 0)
      if (isBetter) best = chunk
    }
    return best
  }

  #extend(size: number): Chunk {
    const grown = size > this.#next
    while (size > this.#next) this.#next *= 2
    const chunk = { region: this.#regions.length, start: 0, size: this.#next, isFree: true }
    this.#regions.push(new Uint8Array(Math.ceil(this.#next / PAGE)))
    if (!grown) this.#next *= 2
    return chunk
  }

  #split(chunk: Chunk, size: number): void {
    const { region, start, next } = chunk
    const rest: Chunk = { region, start: start + size, size: chunk.size - size, isFree: true, next, previous: chunk }
    if (next) next.previous = rest
    chunk.next = rest
    chunk.size = size
    this.#free.add(rest)
  }

  #merge(left: Chunk, right: Chunk): Chunk {
    this.#free.delete(left)
    this.#free.delete(right)
    left.size += right.size
    left.next = right.next
    if (right.next) right.next.previous = left
    return left
  }
}
