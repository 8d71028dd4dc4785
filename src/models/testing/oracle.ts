/** @file The oracle's model checkpoints, as the tests of models use them. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe } from 'vitest'
import { oracleCase, skippable } from '../../../test/shared.ts'
import { floats, type TensorData } from '../../runtime/index.ts'
import { asTypedArray, parseSafetensors, toFloat32 } from '../../weights/index.ts'

/** What golden.json of a model says. */
export interface Golden {
  cls: string
  parameters: number
  atol: number
  rtol: number
  loss?: number
}

/** The reference models that are computed here, with the class of each. */
export const ORACLE_MODELS = [
  'bert-base-model',
  'bert-seqcls',
  'llama-causal',
  'llama-rope-scaled-causal',
  'llama-seqcls',
  'qwen2-causal',
  'gpt2-causal',
  'gpt2-seqcls',
] as const

/** Runs `suite` for each reference model that is there; the others are told as skipped. */
export function describeOracleModels(suite: (name: string, folder: string, golden: Golden) => void): void {
  for (const name of ORACLE_MODELS) {
    const folder = oracleCase('models', name)
    describe.skipIf(!folder)(skippable(`oracle: ${name}`, !folder && 'no copy of the oracle here'), () => {
      suite(name, folder ?? '', folder ? readGolden(folder) : ({} as Golden))
    })
  }
}

/** What golden.json of the model in `folder` says. */
export function readGolden(folder: string): Golden {
  return JSON.parse(readFileSync(join(folder, 'golden.json'), 'utf8'))
}

/** The tensors of golden.safetensors whose name begins with `prefix`, without it. */
export function goldenTensors(folder: string, prefix: string): Record<string, TensorData> {
  const { tensors } = parseSafetensors(readFileSync(join(folder, 'golden.safetensors')))
  const result: Record<string, TensorData> = {}
  for (const [name, { dtype, shape, bytes }] of tensors) {
    if (!name.startsWith(prefix)) continue
    result[name.slice(prefix.length)] =
      dtype === 'I64'
        ? { dtype: 'int64', dims: shape, data: asTypedArray('I64', bytes) }
        : { dtype: 'float32', dims: shape, data: toFloat32(dtype, bytes) }
  }
  return result
}

/**
 * How far `got` is from `expected` at worst, in units of the tolerance `atol + rtol * |expected|`: at most 1 is right.
 *
 * @param rows which rows (all axes but the last) count, 1 or 0 each; all by default
 */
export function worstDeviation(
  got: TensorData,
  expected: TensorData,
  { atol, rtol }: Pick<Golden, 'atol' | 'rtol'>,
  rows?: ArrayLike<bigint>,
): number {
  if (got.dims.join() !== expected.dims.join()) return Number.POSITIVE_INFINITY
  const [x, y] = [floats(got), floats(expected)]
  const width = expected.dims.at(-1) ?? 1
  let worst = 0
  for (let i = 0; i < y.length; i++) {
    if (rows && rows[Math.floor(i / width)] === 0n) continue
    const deviation = Math.abs(x[i] - y[i]) / (atol + rtol * Math.abs(y[i]))
    // A comparison with NaN is false: it must count as wrong.
    if (!(deviation <= worst)) worst = Number.isNaN(deviation) ? Number.POSITIVE_INFINITY : deviation
  }
  return worst
}
