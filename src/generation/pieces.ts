/** @file Which prompts can be read in pieces. */
import type { PretrainedConfig, RopeParameters } from '../models/config.ts'
import type { GenerativeModel } from '../models/generator.ts'

/**
 * The longest text that can be read in pieces: 0 where adapters look at all of it at once, and where rotary embeddings
 * depend on its length, the length up to which they do not. Infinity for others.
 */
export function longestInPieces(model: GenerativeModel): number {
  if (model.readsWhole?.()) return 0
  const { rope_parameters: rope, max_position_embeddings: positions = 0 } = model.config as PretrainedConfig & {
    rope_parameters?: RopeParameters | Record<string, RopeParameters>
    max_position_embeddings?: number
  }
  const tables = [rope, ...Object.values(rope ?? {})] as Partial<RopeParameters | null>[]
  const limits = tables.map(table => {
    if (table?.rope_type === 'dynamic') return positions
    return table?.rope_type === 'longrope' ? (table.original_max_position_embeddings ?? 0) : Number.POSITIVE_INFINITY
  })
  return Math.min(...limits)
}
