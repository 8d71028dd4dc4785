/** @file The oracle's model checkpoints, as the tests of models use them. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe } from 'vitest'
import { oracleCase, skippable } from '../../../test/shared.ts'
import { floats, type TensorData } from '../../runtime/index.ts'
import { asTypedArray, parseSafetensors, toFloat32 } from '../../weights/index.ts'
import {
  AutoModel,
  type AutoModelClass,
  AutoModelForCausalLM,
  AutoModelForImageClassification,
  AutoModelForMaskedLM,
  AutoModelForQuestionAnswering,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
  AutoModelForSpeechSeq2Seq,
  AutoModelForTokenClassification,
} from '../index.ts'

/** What golden.json of a model says. */
export interface Golden {
  cls: string
  /** What the model does: `causal`, `seqcls` and others. */
  kind: string
  parameters: number
  atol: number
  rtol: number
  loss?: number
}

/** The reference models that are computed here, with the class of each. */
export const ORACLE_MODELS = [
  'albert-seqcls',
  'bart-seq2seq',
  'bert-base-model',
  'bert-mlm',
  'bert-qa',
  'bert-seqcls',
  'bert-tokcls',
  'bloom-causal',
  'clip',
  'deberta-v2-seqcls',
  'dinov2-imgcls',
  'distilbert-seqcls',
  'electra-seqcls',
  'falcon-causal',
  'flan-t5-seq2seq',
  'gemma-causal',
  'gemma2-causal',
  'gemma3-causal',
  'gpt-neox-causal',
  'gpt2-causal',
  'gpt2-seqcls',
  'llama-causal',
  'llama-rope-scaled-causal',
  'llama-seqcls',
  'mistral-causal',
  'mixtral-causal',
  'modernbert-mlm',
  'mt5-seq2seq',
  'olmo2-causal',
  'opt-causal',
  'phi-causal',
  'phi3-causal',
  'qwen2-causal',
  'qwen3-causal',
  'qwen3-moe-causal',
  'roberta-mlm',
  'roberta-seqcls',
  'smollm3-causal',
  't5-seq2seq',
  'vit-imgcls',
  'whisper-seq2seq',
  'xlm-roberta-tokcls',
] as const

/** What opens a model of each {@link Golden.kind}. */
export const AUTO_CLASSES: Readonly<Record<string, AutoModelClass>> = {
  audio: AutoModelForSpeechSeq2Seq,
  enc: AutoModel,
  causal: AutoModelForCausalLM,
  clip: AutoModel,
  imgcls: AutoModelForImageClassification,
  mlm: AutoModelForMaskedLM,
  qa: AutoModelForQuestionAnswering,
  seq2seq: AutoModelForSeq2SeqLM,
  seqcls: AutoModelForSequenceClassification,
  tokcls: AutoModelForTokenClassification,
}

/**
 * Runs `suite` for each reference model that is there; the others are told as skipped.
 *
 * @param names which of them are meant; all by default
 */
export function describeOracleModels(
  suite: (name: string, folder: string, golden: Golden) => void,
  names: RegExp = /./,
): void {
  for (const name of ORACLE_MODELS.filter(known => names.test(known))) {
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
