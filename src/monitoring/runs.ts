/** @file Recorded runs: finding their folders, reading them while they grow, and how they stand. */
import { open, readdir, stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, join } from 'node:path'
import type { LogEvent, RunEvent, StartEvent } from './events.ts'
import { parseLines } from './events.ts'
import { METRICS_FILE, readEvents } from './metrics-file.ts'

/** A folder that holds `metrics.jsonl`. */
export interface RunFolder {
  /** The path from where the search began, with forward slashes. */
  id: string
  folder: string
}

/** How a run stands; `suspended` where it can be resumed, `lost` where nothing says how it ended and its process is gone. */
export type RunStatus = 'running' | 'finished' | 'stopped' | 'suspended' | 'interrupted' | 'failed' | 'lost'

/** A run in a list. */
export interface RunSummary {
  id: string
  name: string
  status: RunStatus
  /** When it began. */
  time: string
  step: number
  max_steps: number
  /** The last logged loss. */
  loss?: number
}

/** The runs in a folder and the folders within it down to `depth`, those that began last first. */
export async function findRuns(root: string, depth: number): Promise<RunFolder[]> {
  const found: RunFolder[] = []
  const search = async (folder: string, id: string, below: number): Promise<void> => {
    if (await isFile(join(folder, METRICS_FILE))) found.push({ id: id || basename(folder), folder })
    if (below === 0) return
    const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
    for (const entry of entries) {
      if (!entry.isDirectory() || entry.name.startsWith('.') || entry.name === 'node_modules') continue
      await search(join(folder, entry.name), id ? `${id}/${entry.name}` : entry.name, below - 1)
    }
  }
  await search(root, '', depth)
  return found
}

const isFile = (path: string) =>
  stat(path).then(
    found => found.isFile(),
    () => false,
  )

/** The events of a run that came since it was read last. */
export class RunReader {
  readonly #path: string
  #file: number | undefined
  #offset = 0

  constructor(folder: string) {
    this.#path = join(folder, METRICS_FILE)
  }

  /** `isFresh` where the file was replaced, or is read for the first time: the events are all there are. */
  async read(): Promise<{ isFresh: boolean; events: RunEvent[] }> {
    const handle = await open(this.#path, 'r').catch(() => undefined)
    // Between two files of one name there is none.
    if (!handle) return { isFresh: false, events: [] }
    try {
      const { ino, size } = await handle.stat()
      const isFresh = ino !== this.#file || size < this.#offset
      if (isFresh) [this.#file, this.#offset] = [ino, 0]
      const bytes = Buffer.alloc(size - this.#offset)
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, this.#offset)
      const end = bytes.lastIndexOf(10, bytesRead - 1) + 1
      this.#offset += end
      return { isFresh, events: parseLines(bytes.toString('utf8', 0, end), this.#path) }
    } finally {
      await handle.close()
    }
  }
}

/** Summaries of runs; a file is read again only when it has changed. */
export class RunSummaries {
  readonly #known = new Map<string, { changed: number; size: number; events: RunEvent[] }>()

  /** Those of the runs that can be read, the newest first. */
  async of(runs: readonly RunFolder[]): Promise<RunSummary[]> {
    const summaries = await Promise.all(runs.map(run => this.#summary(run).catch(() => undefined)))
    return summaries
      .filter(summary => summary !== undefined)
      .sort((a, b) => (a.time < b.time ? 1 : a.time > b.time ? -1 : 0))
  }

  async #summary({ id, folder }: RunFolder): Promise<RunSummary | undefined> {
    const path = join(folder, METRICS_FILE)
    const { mtimeMs: changed, size } = await stat(path)
    const before = this.#known.get(path)
    const isSame = before?.changed === changed && before.size === size
    const events = isSame ? before.events : await readEvents(path)
    this.#known.set(path, { changed, size, events })
    const begin = events.findLast(({ event }) => event === 'start' || event === 'resume') as StartEvent | undefined
    if (!begin) return undefined
    const log = events.findLast(({ event }) => event === 'log') as LogEvent | undefined
    return {
      id,
      name: id,
      status: statusOf(events),
      time: events[0].time,
      step: events.at(-1)!.step,
      max_steps: begin.max_steps,
      ...(log && { loss: log.loss }),
    }
  }
}

/** How a run stands by what it recorded. */
export function statusOf(events: readonly RunEvent[]): RunStatus {
  const last = events.findLast(({ event }) => ['start', 'resume', 'end', 'pause', 'error'].includes(event))
  if (last?.event === 'end') return last.stopped ? 'stopped' : 'finished'
  if (last?.event === 'pause') return 'suspended'
  if (last?.event === 'error') return last.name === 'AbortError' ? 'interrupted' : 'failed'
  if (last?.event !== 'start' && last?.event !== 'resume') return 'lost'
  return last.host !== hostname() || isAlive(last.pid) ? 'running' : 'lost'
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
