/** @file TensorBoard's event files, as its own writers make them. */
import { appendFile, mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { TrainerCallback, TrainResult } from '../../training/index.ts'
import { writeFileAtomic } from '../../util/files.ts'
import type { ResumeEvent, RunEvent, SamplesEvent, StartEvent } from '../events.ts'
import { type Keeps, type RecordOptions, recording, type Sink } from '../sink.ts'
import { type EventContent, encodeEvent, stepAndTags } from './event-message.ts'
import { frameRecord, readRecords } from './tfrecord.ts'

/** Files that this module wrote; those of other programs in the same folder are left alone. */
const OWN_FILE = /^events\.out\.tfevents\..*\.peft-ts$/

/** What logs and evaluations say that is no measurement. */
const NOT_MEASURED = ['event', 'time', 'step']

/**
 * A callback that records a training for TensorBoard, in `<folder>/events.out.tfevents.*`: `train/loss`,
 * `train/learning_rate`, `train/grad_norm`, `train/tokens_per_second`, `train/memory_bytes`, `eval/loss` and the other
 * metrics, the arguments and the samples as texts. A training that begins anew removes the events of an earlier one from
 * the folder; one that goes on from a checkpoint continues them after the checkpoint's step.
 *
 * Look at it with `tensorboard --logdir <folder>`.
 */
export function tensorBoard(folder: string, options: RecordOptions = {}): TrainerCallback<TrainResult> {
  return recording(new TensorBoardEvents(folder), options)
}

class TensorBoardEvents implements Sink {
  readonly #folder: string
  #path: string | undefined

  constructor(folder: string) {
    this.#folder = folder
  }

  async begin(event: StartEvent | ResumeEvent, keeps: Keeps): Promise<void> {
    await mkdir(this.#folder, { recursive: true })
    const earlier = (await readdir(this.#folder)).filter(name => OWN_FILE.test(name)).sort()
    const seconds = secondsOf(event)
    const own = `events.out.tfevents.${Math.floor(seconds)}.${hostname()}.${process.pid}.peft-ts`
    if (event.event === 'start') {
      for (const name of earlier) await rm(join(this.#folder, name))
    } else if (earlier.length > 0) {
      for (const name of earlier) await takeOut(join(this.#folder, name), keeps)
      this.#path = join(this.#folder, earlier.at(-1)!)
      return
    }
    this.#path = join(this.#folder, own)
    await writeFileAtomic(this.#path, frameRecord(encodeEvent(seconds, 0, { fileVersion: 'brain.Event:2' })))
    if (event.event === 'start') await this.write(event)
  }

  /** Opens the file anew each time: a saved model takes the place of the whole folder. */
  async write(event: RunEvent): Promise<void> {
    const content = contentOf(event)
    if (content) await appendFile(this.#path!, frameRecord(encodeEvent(secondsOf(event), event.step, content)))
  }
}

const secondsOf = ({ time }: RunEvent) => Date.parse(time) / 1000

/** What TensorBoard is told of an event. */
function contentOf(event: RunEvent): EventContent | undefined {
  if (event.event === 'start') return { texts: { arguments: codeBlock(JSON.stringify(event.arguments, undefined, 2)) } }
  if (event.event === 'samples') return { texts: sampleTexts(event) }
  if (event.event !== 'log' && event.event !== 'evaluation') return undefined
  const scalars: Record<string, number> = {}
  for (const [name, value] of Object.entries(event)) {
    if (NOT_MEASURED.includes(name) || typeof value !== 'number') continue
    // The epoch of an evaluation is that of the log beside it.
    if (event.event === 'evaluation' && name === 'epoch') continue
    scalars[name.startsWith('eval_') ? `eval/${name.slice('eval_'.length)}` : `train/${name}`] = value
  }
  return { scalars }
}

function sampleTexts({ samples }: SamplesEvent): Record<string, string> {
  return Object.fromEntries(
    samples.map(({ input, expected, output, confidence }, i) => [
      `samples/${i + 1}`,
      [
        `**Input**\n\n${codeBlock(input)}`,
        `**Output**${confidence === undefined ? '' : ` (${(100 * confidence).toFixed(1)} %)`}\n\n${codeBlock(output)}`,
        ...(expected === undefined ? [] : [`**Expected**\n\n${codeBlock(expected)}`]),
      ].join('\n\n'),
    ]),
  )
}

/** A text that Markdown shows as it is: indented, since it may hold any other mark. */
function codeBlock(text: string): string {
  return text.replace(/^/gm, '    ')
}

/** Takes out of a file what is not kept. */
async function takeOut(path: string, keeps: Keeps): Promise<void> {
  const kept = [...readRecords(await readFile(path))].filter(record => {
    const { step, tags } = stepAndTags(record)
    return tags.every(tag => keeps(kindOf(tag), step))
  })
  await writeFileAtomic(path, kept.map(frameRecord))
}

/** The kind of event that a tag is written for. */
function kindOf(tag: string): RunEvent['event'] {
  const [kind] = tag.split('/')
  return kind === 'train' ? 'log' : kind === 'eval' ? 'evaluation' : kind === 'samples' ? 'samples' : 'start'
}
