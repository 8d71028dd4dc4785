/** @file `metrics.jsonl`: one line of JSON an event, in a file that can be read while it grows. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TrainerCallback, TrainResult } from '../training/index.ts'
import { writeFileAtomic } from '../util/files.ts'
import { appendRecord } from './append.ts'
import { parseLines, type ResumeEvent, type RunEvent, type StartEvent, salvageLines, toLine } from './events.ts'
import { type Keeps, type RecordOptions, recording, type Sink } from './sink.ts'

/** The file's name. */
export const METRICS_FILE = 'metrics.jsonl'

/**
 * A callback that records a training in `<folder>/metrics.jsonl`: its arguments, each log and evaluation, its result. A
 * training that begins anew replaces the file; one that goes on from a checkpoint continues it, without what an earlier
 * process recorded after the checkpoint's step. What was half-written then is left out with a warning.
 *
 * @example
 * new Trainer({ model, trainDataset, args: { outputDir: 'out' }, callbacks: [metricsFile('out'), tensorBoard('out')] })
 */
export function metricsFile(folder: string, options: RecordOptions = {}): TrainerCallback<TrainResult> {
  return recording(new MetricsFile(join(folder, METRICS_FILE), options.onWarning), options)
}

class MetricsFile implements Sink {
  readonly #path: string
  readonly #onWarning: (message: string) => void

  constructor(path: string, onWarning: (message: string) => void = console.warn) {
    this.#path = path
    this.#onWarning = onWarning
  }

  async begin(event: StartEvent | ResumeEvent, keeps: Keeps): Promise<void> {
    const { events, damaged } = salvageLines(event.event === 'resume' ? await textOf(this.#path) : '')
    if (damaged.length) {
      this.#onWarning(
        `${this.#path}: left out line ${damaged.join(', ')}, which is not complete; the process before ended while writing.`,
      )
    }
    const kept = events.filter(({ event, step }) => keeps(event, step))
    await writeFileAtomic(this.#path, [...kept, event].map(toLine).join(''))
  }

  /** Opens the file anew each time: a saved model takes the place of the whole folder. */
  async write(event: RunEvent): Promise<void> {
    await appendRecord(this.#path, toLine(event))
  }
}

/** The events of a file; none where there is no file. */
export async function readEvents(path: string): Promise<RunEvent[]> {
  return parseLines(await textOf(path), path)
}

function textOf(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return ''
    throw error
  })
}
