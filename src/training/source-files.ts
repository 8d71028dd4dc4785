/** @file The files that a model in training reads its weights from: whether they were written to meanwhile. Node only. */
import { stat } from 'node:fs/promises'
import type { TrainableModel } from './model.ts'

/** The weight files of a model as they were at one moment. */
export class SourceFiles {
  readonly #states: ReadonlyMap<string, string>

  private constructor(states: ReadonlyMap<string, string>) {
    this.#states = states
  }

  /** Looks at the files that `model` has weights in. */
  static async of(model: TrainableModel): Promise<SourceFiles> {
    const paths = new Set<string>()
    for (const [, parameter] of model.namedTensors()) {
      if (!parameter.hasValue || parameter.isPending) continue
      const source = parameter.quantized ? parameter.quantized.packed.source : parameter.source
      if (source.kind === 'file') paths.add(source.path)
    }
    const states = new Map<string, string>()
    for (const path of paths) states.set(path, (await stateOf(path)) ?? '')
    return new SourceFiles(states)
  }

  /** Those that are other files now, or were written to. What is only gone does not count: it stays mapped. */
  async changed(): Promise<string[]> {
    const changed: string[] = []
    for (const [path, state] of this.#states) {
      const now = await stateOf(path)
      if (now !== undefined && now !== state) changed.push(path)
    }
    return changed
  }
}

async function stateOf(path: string): Promise<string | undefined> {
  const found = await stat(path).catch(() => undefined)
  return found && `${found.ino} ${found.size} ${found.mtimeMs}`
}
