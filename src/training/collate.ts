/** @file From examples to the inputs of a model, and how much is in a batch. */
import { type Feature, IGNORE_INDEX, padBatch, padRows } from '../data/index.ts'
import type { TensorData } from '../runtime/index.ts'
import { imageCollator, isImage, isSpeech, speechCollator } from './media.ts'
import type { TrainableModel, TrainingTask } from './model.ts'

/** The inputs of one pass, by the model's names. */
export type Batch = Readonly<Record<string, TensorData>>

/** Makes a batch of examples. */
export type DataCollator<E> = (examples: readonly E[]) => Batch

/** Options of {@link paddingCollator}. */
export interface PaddingOptions {
  padTokenId: number | undefined
  padToMultipleOf: number
  /** What labels are; by default classes, or one for each token. */
  task?: TrainingTask
}

/**
 * The collator for features: pads them to the longest. Segment numbers are left away where the model takes none and
 * they say nothing; features without labels make a batch without labels.
 */
export function paddingCollator(model: TrainableModel, options: PaddingOptions): DataCollator<Feature> {
  const known = model.inputSpecs()
  return features => {
    const unlabelled = features.every(({ labels }) => labels === undefined)
    if (!unlabelled && !known.labels && !known.start_positions) {
      throw new Error(
        `${model.constructor.name} takes no labels, so it has no loss to train or evaluate with; open it with a head ` +
          '(AutoModelForSequenceClassification, AutoModelForCausalLM), or give features without labels to predict.',
      )
    }
    const { padToMultipleOf } = options
    const padTokenId = options.padTokenId ?? padTokenOfEqualLengths(features, padToMultipleOf)
    const isApart = options.task === 'SEQ_2_SEQ_LM' || options.task === 'QUESTION_ANS'
    const complete = unlabelled || isApart ? features.map(feature => ({ ...feature, labels: 0 })) : features
    const { labels, token_type_ids, ...inputs } = padBatch(complete, { padTokenId, padToMultipleOf })
    if (token_type_ids && !known.token_type_ids && token_type_ids.data.some(type => type !== 0n)) {
      throw new Error(
        'The features have tokenTypeIds that tell two texts apart, and the model takes no token_type_ids; tokenise with ' +
          "the model's own tokenizer.",
      )
    }
    return {
      ...inputs,
      ...(token_type_ids && known.token_type_ids && { token_type_ids }),
      ...(!unlabelled && (isApart ? targetsApart(features, options) : { labels })),
    }
  }
}

/** The collator for whatever the data layer makes: features, padded, images and recordings. */
export function defaultCollator(model: TrainableModel, options: PaddingOptions): DataCollator<unknown> {
  const pad = paddingCollator(model, options)
  return examples => {
    if (examples.length > 0 && examples.every(isImage)) return imageCollator(examples)
    if (examples.length > 0 && examples.every(isSpeech)) return speechCollator(examples)
    return pad(examples as readonly Feature[])
  }
}

/** Targets that do not stand at the tokens of the text: a text of their own, or the two ends of an answer. */
function targetsApart(features: readonly Feature[], { task, padToMultipleOf }: PaddingOptions): Batch {
  const rows = features.map(({ labels }, i) => {
    if (Array.isArray(labels) && (task === 'SEQ_2_SEQ_LM' || labels.length === 2)) return labels
    const expected = task === 'SEQ_2_SEQ_LM' ? 'the tokens of the target' : 'the first and the last token of the answer'
    throw new Error(
      `Could not form a batch: feature ${i} has the labels ${JSON.stringify(labels)}, expected ${expected}`,
    )
  })
  if (task === 'SEQ_2_SEQ_LM') return { labels: padRows(rows, IGNORE_INDEX, padToMultipleOf) }
  const side = (at: number): TensorData => ({
    dtype: 'int64',
    dims: [rows.length],
    data: BigInt64Array.from(rows, row => BigInt(row[at])),
  })
  return { start_positions: side(0), end_positions: side(1) }
}

/** Whether a batch has something to learn. */
export function hasTargets({ labels, start_positions }: Batch): boolean {
  return labels !== undefined || start_positions !== undefined
}

/** Any token does where nothing is padded. */
function padTokenOfEqualLengths(features: readonly Feature[], multiple: number): number {
  const [{ inputIds }] = features
  if (features.every(feature => feature.inputIds.length === inputIds.length) && inputIds.length % multiple === 0)
    return 0
  throw new Error(
    'Could not pad: no padding token is known. Give the Trainer padTokenId (the end-of-text token will do), a tokenizer, ' +
      'or a model whose configuration has pad_token_id.',
  )
}

/**
 * How many targets the loss of a batch is the mean of: labels other than -100. Of token labels that the model shifts
 * the first column is no target. Batches without integer labels count rows: classes that are given otherwise, and answers.
 */
export function countTargets(batch: Batch, shifted: boolean): number {
  const { labels } = batch
  if (!(labels?.data instanceof BigInt64Array)) return rowsOf(batch)
  const width = labels.dims.length > 1 ? labels.dims[labels.dims.length - 1] : 1
  const skipsFirst = shifted && labels.dims.length > 1
  let count = 0
  labels.data.forEach((label, i) => {
    if (label !== BigInt(IGNORE_INDEX) && !(skipsFirst && i % width === 0)) count++
  })
  return count
}

/** The tokens of a batch without padding; 0 where it has no attention mask. */
export function countTokens({ attention_mask: mask }: Batch): number {
  if (!(mask?.data instanceof BigInt64Array)) return 0
  let count = 0
  for (const attended of mask.data) if (attended === 1n) count++
  return count
}

/** The number of examples of a batch: the length of its first axis. */
export function rowsOf(batch: Batch): number {
  const [first] = Object.values(batch)
  if (!first) throw new Error('The data collator returned no tensors')
  return first.dims[0] ?? 1
}
