/** @file TensorBoard's event files, as its own writers make them. */
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { TrainerCallback, TrainResult } from '../../training/index.ts'
import { writeFileAtomic } from '../../util/files.ts'
import { appendRecord } from '../append.ts'
import type { ResumeEvent, RunEvent, SamplesEvent, StartEvent } from '../events.ts'
import { type Keeps, type RecordOptions, recording, type Sink } from '../sink.ts'
import { type EventContent, encodeEvent, outlineOf } from './event-message.ts'
import { frameRecord, readRecords } from './tfrecord.ts'

/** Files that this module wrote; those of other programs in the same folder are left alone. */
const OWN_FILE = /^events\.out\.tfevents\.(\d+)\..*\.peft-ts$/

/** What logs and evaluations say that is no measurement. */
const NOT_MEASURED = ['event', 'time', 'step']

/**
 * A callback that records a training for TensorBoard, in `<folder>/events.out.tfevents.*`: `train/loss`,
 * `train/learning_rate`, `train/grad_norm`, `train/tokens_per_second`, `train/memory_bytes`, `eval/loss` and the other
 * metrics, the arguments and the samples as texts. A training that begins anew removes the events of an earlier one from
 * the folder; one that goes on from a checkpoint writes a file of its own, which tells TensorBoard that what the files
 * before say of later steps is void.
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
    const records = [
      encodeEvent(seconds, 0, { fileVersion: 'brain.Event:2' }),
      // TensorBoard takes the first one as no more than a beginning, so a training that begins anew says it too.
      encodeEvent(seconds, event.step, { session: 'start' }),
    ]
    if (event.event === 'start') for (const name of earlier.splice(0)) await rm(join(this.#folder, name))
    else records.push(...(await this.#recordedAt(event.step, earlier, keeps)))
    this.#path = join(this.#folder, nameAfter(earlier.at(-1), Math.floor(seconds)))
    await writeFileAtomic(this.#path, records.map(frameRecord))
    if (event.event === 'start') await this.write(event)
  }

  /** What files say of a step that counts: it is void by step, and told again. */
  async #recordedAt(at: number, files: readonly string[], keeps: Keeps): Promise<Uint8Array[]> {
    let found: Uint8Array[] = []
    for (const name of files) {
      for (const record of readRecords(await readFile(join(this.#folder, name)))) {
        const { step, isStart, tags } = outlineOf(record)
        if (isStart && step <= at) found = []
        if (step === at && tags.length && tags.every(tag => keeps(kindOf(tag), step))) found.push(record)
      }
    }
    return found
  }

  /** Opens the file anew each time: a saved model takes the place of the whole folder. */
  async write(event: RunEvent): Promise<void> {
    const content = contentOf(event)
    if (content) await appendRecord(this.#path!, frameRecord(encodeEvent(secondsOf(event), event.step, content)))
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

/** The name of a file that TensorBoard reads after another: it goes by the order of the names. */
function nameAfter(last: string | undefined, seconds: number): string {
  const before = last === undefined ? 0 : Number(OWN_FILE.exec(last)![1])
  return `events.out.tfevents.${Math.max(seconds, before + 1)}.${hostname()}.${process.pid}.peft-ts`
}

/** The kind of event that a tag is written for. */
function kindOf(tag: string): RunEvent['event'] {
  const [kind] = tag.split('/')
  return kind === 'train' ? 'log' : kind === 'eval' ? 'evaluation' : kind === 'samples' ? 'samples' : 'start'
}
