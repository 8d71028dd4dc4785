/** @file Where the benchmark reads and writes. */
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The root of the repository. */
export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..')

/** Everything that a run leaves behind; git ignores it. */
export const CACHE = resolve(ROOT, '.cache/bench')

/** Data, models and the peer's scripts, beside the repository. */
export const SHARED = resolve(ROOT, '../shared')
