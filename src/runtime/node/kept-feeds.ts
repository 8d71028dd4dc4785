/** @file Constant inputs that the engine's thread has: they are not sent to it again. */
import type { Feed } from '../engine.ts'
import type { ResidentTensor } from '../memory.ts'
import type { TensorData } from '../tensor-data.ts'

/** A feed as it is sent: with a number that it is kept by, or that number alone where it was sent before. */
export type SentFeed = (TensorData & { id?: number }) | ResidentTensor | { id: number }

/** What one session was sent last, by the names of its inputs: one tensor for each is kept in the thread. */
export class KeptFeeds {
  readonly #sent = new Map<string, { id: number; data: WeakRef<TensorData['data']>; dims: string }>()
  #next = 0

  /** What must be sent for these feeds, which then are. */
  toSend(feeds: Readonly<Record<string, Feed>>): Record<string, SentFeed> {
    return Object.fromEntries(Object.entries(feeds).map(([name, feed]) => [name, this.#feed(name, feed)]))
  }

  /** From now on everything is sent again. */
  forget(): void {
    this.#sent.clear()
  }

  #feed(name: string, given: Feed): SentFeed {
    if ('memory' in given) return given
    const { isConstant, ...feed } = given
    if (!isConstant) return feed
    const dims = feed.dims.join()
    const known = this.#sent.get(name)
    if (known?.data.deref() === feed.data && known.dims === dims) return { id: known.id }
    const id = this.#next++
    this.#sent.set(name, { id, data: new WeakRef(feed.data), dims })
    return { ...feed, id }
  }
}
