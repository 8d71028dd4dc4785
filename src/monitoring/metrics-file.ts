/** @file `metrics.jsonl`: one line of JSON an event, in a file that can be read while it grows. */
import { appendFile, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TrainerCallback, TrainResult } from '../training/index.ts'
import { writeFileAtomic } from '../util/files.ts'
import { parseLines, type ResumeEvent, type RunEvent, type StartEvent, toLine } from './events.ts'
import { type Keeps, type RecordOptions, recording, type Sink } from './sink.ts'

/** The file's name. */
export const METRICS_FILE = 'metrics.jsonl'

/**
 * A callback that records a training in `<folder>/metrics.jsonl`: its arguments, each log and evaluation, its result. A
 * training that begins anew replaces the file; one that goes on from a checkpoint continues it, without what an earlier
 * process recorded after the checkpoint's step.
 *
 * @example
 * new Trainer({ model, trainDataset, args: { outputDir: 'out' }, callbacks: [metricsFile('out'), tensorBoard('out')] })
 */
export function metricsFile(folder: string, options: RecordOptions = {}): TrainerCallback<TrainResult> {
  return recording(new MetricsFile(join(folder, METRICS_FILE)), options)
}

class MetricsFile implements Sink {
  readonly #path: string

  constructor(path: string) {
    this.#path = path
  }

  async begin(event: StartEvent | ResumeEvent, keeps: Keeps): Promise<void> {
    const earlier = event.event === 'resume' ? await readEvents(this.#path) : []
    const kept = earlier.filter(({ event, step }) => keeps(event, step))
    await writeFileAtomic(this.#path, [...kept, event].map(toLine).join(''))
  }

  /** Opens the file anew each time: a saved model takes the place of the whole folder. */
  async write(event: RunEvent): Promise<void> {
    await appendFile(this.#path, toLine(event))
  }
}

/** The events of a file; none where there is no file. */
export async function readEvents(path: string): Promise<RunEvent[]> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return ''
    throw error
  })
  return parseLines(text, path)
}
