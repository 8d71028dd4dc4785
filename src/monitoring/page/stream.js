/** @file The live data: server-sent events, with what to do when they stop. */

/**
 * @import { ControlState } from '../control.ts'
 * @import { RunEvent } from '../events.ts'
 * @import { RunSummary } from '../runs.ts'
 * @typedef {'connecting' | 'open' | 'lost' | 'closed'} Connection `closed` where the process has ended in good order
 * @typedef {object} Listeners
 * @property {(data: { runs: RunSummary[] }) => void} runs
 * @property {(data: { run: string, isFresh: boolean, events: RunEvent[] }) => void} events
 * @property {(data: ControlState | null) => void} state
 * @property {(connection: Connection) => void} connection
 */

/** Listens to the runs that are wanted, and connects anew when others are. */
export class Stream {
  /** @type {EventSource | undefined} */
  #source
  #wanted = ''
  #listeners
  #isClosed = false

  /** @param {Listeners} listeners */
  constructor(listeners) {
    this.#listeners = listeners
  }

  /** @param {readonly string[]} runs */
  listen(runs) {
    const query = new URLSearchParams(runs.map(run => ['run', run])).toString()
    if (this.#isClosed || (this.#source && query === this.#wanted)) return
    this.#wanted = query
    this.#source?.close()
    const { connection, runs: list, events, state } = this.#listeners
    const source = new EventSource(`/api/live?${query}`)
    this.#source = source
    source.onopen = () => connection('open')
    source.onerror = () => connection('lost')
    source.addEventListener('runs', ({ data }) => list(JSON.parse(data)))
    source.addEventListener('events', ({ data }) => events(JSON.parse(data)))
    source.addEventListener('state', ({ data }) => state(JSON.parse(data)))
    source.addEventListener('closing', () => {
      this.#isClosed = true
      source.close()
      connection('closed')
    })
  }
}

/**
 * Asks the training something.
 *
 * @param {string} action
 * @returns {Promise<string | undefined>} why it could not be done
 */
export async function ask(action) {
  const token = document.querySelector('meta[name="peft-token"]')?.getAttribute('content') ?? ''
  try {
    const answer = await fetch('/api/control', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-peft-token': token },
      body: JSON.stringify({ action }),
    })
    return answer.ok ? undefined : await answer.text()
  } catch {
    return 'The training could not be reached.'
  }
}
