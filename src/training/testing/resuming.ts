/** @file Trainings that are interrupted and resumed, for tests. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TrainResult } from '../run.ts'
import type { Trainer } from '../trainer.ts'

/** The files of a tree with their content; how long things took is left out. */
export async function contentsOf(folder: string): Promise<Record<string, string>> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true })
  const paths = entries
    .filter(entry => entry.isFile() && entry.name !== 'timing.json')
    .map(({ parentPath, name }) => join(parentPath, name))
    .sort()
  const contents = await Promise.all(paths.map(path => readFile(path, 'latin1')))
  return Object.fromEntries(paths.map((path, i) => [path.slice(folder.length + 1), contents[i]]))
}

/** A result without what depends on time. */
export function timeless({ history, secondsPerStep: _, tokensPerSecond: __, ...rest }: TrainResult) {
  return { ...rest, history: history.map(entry => ({ ...entry, tokens_per_second: 0 })) }
}

/** A callback that asks for a pause after a step. */
export const pauseAfter = (at: number): ConstructorParameters<typeof Trainer>[0]['callbacks'] => [
  {
    onStepEnd: ({ step }, control) => {
      if (step === at) control.shouldPause = true
    },
  },
]
