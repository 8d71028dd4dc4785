/** @file What a page is told while it is open: lists of runs, events as they come, where the training stands. */
import type { ControlState } from './control.ts'
import type { RunEvent } from './events.ts'
import { type RunFolder, RunReader, type RunSummary } from './runs.ts'

/** What is told; the names are those of the server-sent events. */
export type LiveMessage =
  | { event: 'runs'; data: { runs: RunSummary[] } }
  /** With `isFresh` the events take the place of all that were told of the run. */
  | { event: 'events'; data: { run: string; isFresh: boolean; events: RunEvent[] } }
  /** Null where no training is controlled from here. */
  | { event: 'state'; data: ControlState | null }
  /** The last message: the process that serves the page ends. */
  | { event: 'closing'; data: null }

/** What is looked at for a page. */
export interface LiveSource {
  runs(): Promise<RunFolder[]>
  summaries(runs: readonly RunFolder[]): Promise<RunSummary[]>
  state(): ControlState | null
}

/** One page's view: each call of `next` tells what has changed since the last. */
export class LiveView {
  readonly #source: LiveSource
  readonly #wanted: ReadonlySet<string>
  readonly #readers = new Map<string, RunReader>()
  #told: Partial<Record<LiveMessage['event'], string>> = {}

  /** @param wanted the runs whose events are told */
  constructor(source: LiveSource, wanted: Iterable<string>) {
    this.#source = source
    this.#wanted = new Set(wanted)
  }

  /** What has changed. */
  async next(): Promise<LiveMessage[]> {
    const folders = await this.#source.runs()
    const messages: LiveMessage[] = [
      ...this.#ifNew({ event: 'runs', data: { runs: await this.#source.summaries(folders) } }),
      ...this.#ifNew({ event: 'state', data: this.#source.state() }),
    ]
    for (const { id, folder } of folders) {
      if (!this.#wanted.has(id)) continue
      const reader = this.#readers.get(id) ?? new RunReader(folder)
      this.#readers.set(id, reader)
      const { isFresh, events } = await reader.read()
      if (isFresh || events.length > 0) messages.push({ event: 'events', data: { run: id, isFresh, events } })
    }
    return messages
  }

  #ifNew(message: LiveMessage): LiveMessage[] {
    const text = JSON.stringify(message.data)
    if (this.#told[message.event] === text) return []
    this.#told[message.event] = text
    return [message]
  }
}
