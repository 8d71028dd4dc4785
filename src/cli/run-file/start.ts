/** @file `peft train`, from a run file, flags, or both. */
import type { Command } from 'commander'
import type { TrainOptions } from '../commands/train.ts'
import { UsageError } from '../exit.ts'
import { shellQuote } from '../format.ts'
import type { Context } from '../program.ts'
import { type Run, readRun } from './apply.ts'
import { keyPath } from './keys.ts'
import { writeRunTemplate } from './saved.ts'

/** What a training cannot do without, in a file or by flags. */
const REQUIRED: readonly (keyof TrainOptions)[] = ['model', 'data', 'output']

/** Trains; with `--write-run` it writes a run file instead. */
export async function startRun(
  file: string | undefined,
  command: Command,
  output: Context['output'],
  signal: AbortSignal | undefined,
): Promise<void> {
  const run = await readRun(command, file)
  const { writeRun } = command.opts<{ writeRun?: string }>()
  const told = output(command.opts())
  for (const note of run.notes) told.note(note)
  if (writeRun !== undefined) {
    await writeRunTemplate(writeRun, run)
    const next = `peft train ${shellQuote(writeRun)}`
    const lines = [`wrote ${told.style.bold(writeRun)}`, '', 'next:', `  ${next}`]
    return told.result({ command: 'train', run_file: writeRun, next: [next] }, lines)
  }
  requireAll(run, file)
  const { train } = await import('../commands/train.ts')
  const started = Date.now()
  await train(run.options, told, signal, run.keys).catch(async error => {
    const { withWayOn } = await import('../way-on.ts')
    throw await withWayOn(error, run.options, started)
  })
}

function requireAll({ options, keys }: Run, file: string | undefined): void {
  for (const name of REQUIRED) {
    if (options[name] !== undefined) continue
    const key = keys.find(({ attribute }) => attribute === name)!
    const where = file === undefined ? '' : `, and ${file} says no ${keyPath(key)}`
    throw new UsageError(`required option '${key.flag!.flags}' not specified${where}`)
  }
}
