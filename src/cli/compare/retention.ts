/** @file What a model still can of what its base could: exact answers, the loss on text, the loss on masked tokens. */

import type { Dataset, Tokenizer } from '../../data/index.ts'
import { generate } from '../../generation/index.ts'
import { crossEntropy, reshape, slice, subtractDims } from '../../graph/index.ts'
import { compile } from '../../models/function.ts'
import { AutoModelForMaskedLM, type PreTrainedModel } from '../../models/index.ts'
import type { Module } from '../../nn/index.ts'
import { PeftModel } from '../../peft/index.ts'
import { floats, tensorData } from '../../runtime/index.ts'
import { Trainer } from '../../training/index.ts'
import { Random } from '../../util/random.ts'
import { tokenizeText } from '../data.ts'
import type { Output } from '../output.ts'
import type { TunedModel } from '../tuning.ts'
import type { Forgetting } from './result.ts'

/** What retention is measured with. */
export interface RetentionData {
  path: string
  rows: Dataset
}

/** How retention is measured. */
export interface RetentionOptions {
  tokenizer: Tokenizer
  maxLength: number
  batchSize: number
  threads?: number
  output: Output
  /** The folder of the base model. */
  folder: string
  /** The folder that the adapter was saved to; undefined for a model trained as a whole. */
  adapterFolder?: string
}

/** A row with a prompt and its only right answer. */
interface Question {
  prompt: string
  completion: string
}

/** The questions in a data set; undefined where its rows are something else. */
export function questionsIn(rows: Dataset): Question[] | undefined {
  if (!['prompt', 'completion'].every(name => rows.columns.includes(name))) return undefined
  return Array.from(rows as Iterable<Record<string, unknown>>, ({ prompt, completion }) => ({
    prompt: String(prompt),
    completion: String(completion),
  }))
}

/** Answers that are made at once. */
const ANSWERS = 100

/** The share of questions that are answered letter by letter as they should be. */
export async function exactAnswers(
  model: TunedModel,
  questions: readonly Question[],
  { tokenizer, threads }: Pick<RetentionOptions, 'tokenizer' | 'threads'>,
): Promise<number> {
  const { before } = tokenizer.surroundingTokens()
  const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: false }).inputIds
  const longest = Math.max(...questions.map(({ completion }) => encode(completion).length))
  let right = 0
  for (let start = 0; start < questions.length; start += ANSWERS) {
    const part = questions.slice(start, start + ANSWERS)
    const prompts = part.map(({ prompt }) => [...before, ...encode(prompt)])
    const { newTokens } = await generate(model, prompts, {
      ...{ maxNewTokens: longest + 4, minNewTokens: 0, doSample: false, numBeams: 1, numReturnSequences: 1, threads },
    })
    right += part.filter(
      ({ completion }, i) => tokenizer.decode(newTokens[i], { skipSpecialTokens: true }).trim() === completion.trim(),
    ).length
  }
  return right / questions.length
}

/** What a trained language model has forgotten, as its own base shows. */
export async function forgottenByDecoder(
  model: TunedModel,
  base: PreTrainedModel,
  data: RetentionData,
  options: RetentionOptions,
): Promise<Forgetting> {
  const questions = questionsIn(data.rows)
  if (questions) {
    const [before, after] = [
      await exactAnswers(base, questions, options),
      await exactAnswers(model, questions, options),
    ]
    return { measure: 'exact', before, after, lost: before - after }
  }
  const { tokenizer, maxLength, batchSize, threads, output } = options
  const tokens = tokenizeText(data, tokenizer, { maxLength, overlong: 'truncate' }, output)
  const lossOf = async (tuned: TunedModel) => {
    const trainer = new Trainer({ model: tuned, tokenizer, args: { perDeviceEvalBatchSize: batchSize, threads } })
    return (await trainer.evaluate(tokens)).eval_loss
  }
  const [before, after] = [await lossOf(base), await lossOf(model)]
  return { measure: 'loss', before, after, lost: after - before }
}

const MASKED_SHARE = 0.15

/**
 * What an encoder has forgotten of filling in masked tokens, where its checkpoint still has the head for it: the loss
 * on texts of which some tokens are masked, the same ones for every method.
 */
export async function forgottenByEncoder(
  trained: TunedModel,
  texts: readonly string[],
  options: RetentionOptions,
): Promise<Forgetting | undefined> {
  const { folder, adapterFolder, tokenizer } = options
  const fresh = await AutoModelForMaskedLM.fromPretrained(folder, { onWarning: () => {} })
  if (fresh.missingParameters.length > 0 || tokenizer.maskTokenId === undefined) return undefined
  const before = await maskedLoss(fresh, texts, options)
  const after = await maskedLoss(await withTraining(fresh, trained, adapterFolder), texts, options)
  return { measure: 'masked loss', before, after, lost: after - before }
}

/** The model that fills in tokens, with what was learnt for another task: its adapter, or its whole encoder. */
async function withTraining(
  model: PreTrainedModel,
  trained: TunedModel,
  adapterFolder: string | undefined,
): Promise<PreTrainedModel | PeftModel<PreTrainedModel>> {
  if (trained instanceof PeftModel) {
    const changesInputs = trained.activeAdapters.some(name => trained.adapter(name).method.enter)
    if (changesInputs) return PeftModel.fromPretrained(model, adapterFolder!, { onWarning: () => {} })
    // The encoder with its adapters takes the place of the plain one: "all-linear" would reach into this head too.
    const copy = model.clone()
    copy.setSubmodule(model.baseModelPrefix, trained.model.getSubmodule(model.baseModelPrefix))
    return copy
  }
  const values = new Map((trained as PreTrainedModel).namedParameters())
  const copy = model.clone()
  for (const [name, parameter] of copy.namedParameters()) {
    const learnt = values.get(name)
    if (learnt?.isLoaded) parameter.data = learnt.data
  }
  return copy
}

async function maskedLoss(
  model: PreTrainedModel | PeftModel<PreTrainedModel>,
  texts: readonly string[],
  { tokenizer, maxLength, batchSize, threads }: RetentionOptions,
): Promise<number> {
  const mask = tokenizer.maskTokenId!
  await using run = await compile(
    model as Module,
    (_, { labels, ...inputs }) => {
      const logits = model.forward(inputs).logits!
      // Soft prompts stand in front of the tokens.
      const [, length] = logits.shape
      const own = slice(logits, 1, subtractDims(length, labels.shape[1]))
      return { loss: crossEntropy(reshape(own, [-1, own.shape[2]]), reshape(labels, [-1])) }
    },
    { inputs: { ...model.inputSpecs(), labels: { dtype: 'int64', shape: ['batch', 'sequence'] } }, threads },
  )
  const random = Random.forName('retention', 0)
  let [total, count] = [0, 0]
  for (let start = 0; start < texts.length; start += batchSize) {
    const rows = texts.slice(start, start + batchSize).map(text => tokenizer.encode(text).inputIds.slice(0, maxLength))
    const length = Math.max(...rows.map(row => row.length))
    const labels: number[] = []
    const ids: number[] = []
    const visible: number[] = []
    for (const row of rows) {
      for (let i = 0; i < length; i++) {
        const isMasked = i > 0 && i < row.length - 1 && random.uniform() < MASKED_SHARE
        labels.push(isMasked ? row[i] : -100)
        ids.push(isMasked ? mask : (row[i] ?? tokenizer.padTokenId ?? 0))
        visible.push(i < row.length ? 1 : 0)
      }
    }
    const masked = labels.filter(label => label >= 0).length
    if (masked === 0) continue
    const shape = [rows.length, length]
    const { loss } = await run({
      input_ids: tensorData('int64', ids, shape),
      attention_mask: tensorData('int64', visible, shape),
      labels: tensorData('int64', labels, shape),
    })
    total += floats(loss)[0] * masked
    count += masked
  }
  return total / Math.max(1, count)
}
