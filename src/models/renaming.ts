/** @file Modules that Transformers names otherwise in memory than in checkpoints: names there and back. */

/** A pair of names: the module's in memory, and in checkpoints; `#` stands for a number. */
export type RenamedModule = readonly [current: string, inCheckpoint: string]

/** Translates names of parameters and modules, or names that contain them; others stay as they are. */
export interface Renaming {
  toCurrent(name: string): string
  toCheckpoint(name: string): string
}

/**
 * Two functions from one table. Of its rows the first that matches counts, so longer names stand before shorter ones.
 *
 * @example
 * renaming([['layers.#.mlp.fc1', 'encoder.layer.#.intermediate.dense'], ['layers.#', 'encoder.layer.#']])
 */
export function renaming(modules: readonly RenamedModule[]): Renaming {
  return {
    toCurrent: translation(modules.map(([current, inCheckpoint]) => [inCheckpoint, current])),
    toCheckpoint: translation(modules),
  }
}

function translation(pairs: readonly (readonly [from: string, to: string])[]): (name: string) => string {
  const rules = pairs.map(([from, to]) => {
    const pattern = from.replaceAll('.', String.raw`\.`).replaceAll('#', String.raw`(\d+)`)
    return [new RegExp(String.raw`(^|\.)${pattern}(?=\.|$)`), `$1${to.replace('#', '$2')}`] as const
  })
  return name => {
    const rule = rules.find(([pattern]) => pattern.test(name))
    return rule ? name.replace(...rule) : name
  }
}
