/** @file Says when weights are not where a model found them: files that were moved, deleted or cut off since. */
import { stat } from 'node:fs/promises'
import type { LoweredModel } from '../../graph/index.ts'
import type { SourcedWeight } from './weights.ts'

/** What is wrong with the files that weights lie in, with the way out; undefined where nothing is. */
export async function lostWeights(weights: LoweredModel['weights']): Promise<string | undefined> {
  const ends = new Map<string, number>()
  for (const { weight } of weights) {
    const { source } = weight as SourcedWeight
    if (source.kind !== 'file') continue
    ends.set(source.path, Math.max(ends.get(source.path) ?? 0, source.offset + source.byteLength))
  }
  for (const [path, end] of ends) {
    const found = await stat(path).catch((error: NodeJS.ErrnoException) => error)
    if (found instanceof Error) {
      const happened = found.code === 'ENOENT' ? 'it was moved or deleted' : found.message
      return `The weights in ${path} cannot be read any more: ${happened}. Put the file back, or open the model anew from where it is.`
    }
    if (found.size < end) {
      return (
        `The weights in ${path} were cut off: the file has ${found.size} bytes and had ${end} or more when the model was ` +
        'opened. Put back the file that it was opened from.'
      )
    }
  }
  return undefined
}
