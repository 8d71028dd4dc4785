/** @file What an adapter on one module needs beside its matrices. */
import { patternKey } from '../../pattern.ts'
import type { LoraConfig } from './config.ts'

/** What an adapter needs beside its matrices. */
export interface LoraSettings {
  rank: number
  /** The factor on the update. Changed by {@link LoraLayer.setScale} and its like, which see that graphs follow. */
  scaling: number
  dropout: number
  /** Whether the lengths of the weight's rows are learnt too. */
  useDora: boolean
}

/** The rank, scale and dropout of the adapter on the module, or the parameter, at `path`. */
export function loraSettings(config: LoraConfig, path: string): LoraSettings {
  const rankKey = patternKey(Object.keys(config.rankPattern), path, 'rankPattern')
  const alphaKey = patternKey(Object.keys(config.alphaPattern), path, 'alphaPattern')
  const rank = rankKey === undefined ? config.r : config.rankPattern[rankKey]
  const alpha = alphaKey === undefined ? config.loraAlpha : config.alphaPattern[alphaKey]
  const { loraDropout: dropout, useDora, useRslora } = config
  return { rank, scaling: alpha / (useRslora ? Math.sqrt(rank) : rank), dropout, useDora }
}
