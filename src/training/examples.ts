/** @file What the Trainer takes as data: features, tokenised sets and data sets, checked before anything is computed. */
import {
  type CausalLMOptions,
  type ClassificationOptions,
  Dataset,
  discoverLabels,
  discoverTags,
  type Feature,
  IGNORE_INDEX,
  type QuestionAnsweringOptions,
  resolveColumns,
  type Seq2SeqOptions,
  type TokenClassificationOptions,
  type TokenizedDataset,
  type Tokenizer,
  tokenClassificationColumns,
  tokenizeCausalLM,
  tokenizeClassification,
  tokenizeQuestionAnswering,
  tokenizeSeq2Seq,
  tokenizeTokenClassification,
} from '../data/index.ts'
import { type ModelFacts, predictsTokens, type TrainingTask } from './model.ts'

/** Examples, and where each stood in the data set that it came from. */
export interface Examples<E> {
  /** What messages call them. */
  name: string
  items: readonly E[]
  /** The row of each; the position itself where absent. */
  rows?: readonly number[]
}

/** Examples that were made of rows: a tokenised data set, or prepared images or recordings. */
export interface PreparedExamples<E> {
  features: readonly E[]
  /** The row of each. */
  rows?: readonly number[]
}

/** Examples, what was made of a data set, or (with a tokenizer) a data set of rows. */
export type ExampleSource<E> = readonly E[] | PreparedExamples<E> | TokenizedDataset | Dataset

/** How rows are tokenised. */
export interface TokenizationOptions {
  tokenizer: Tokenizer | undefined
  task: TrainingTask | undefined
  facts: ModelFacts
  options:
    | ClassificationOptions
    | CausalLMOptions
    | Seq2SeqOptions
    | TokenClassificationOptions
    | QuestionAnsweringOptions
  /** The names of the classes in order, where they are known from the training data. */
  labels?: readonly string[]
  /** Takes what the user should know and does not prevent training: rows left out or cut, columns not used. */
  onWarning: (message: string) => void
}

/** Puts data in order. Throws when there is none, or when rows were given and nothing says how to tokenise them. */
export function toExamples<E>(source: ExampleSource<E>, name: string, how: TokenizationOptions): Examples<E> {
  const examples = read(source, name, how)
  if (examples.items.length === 0) throw new Error(`The ${name} is empty; at least one example is needed.`)
  return examples
}

function read<E>(source: ExampleSource<E>, name: string, how: TokenizationOptions): Examples<E> {
  if (Array.isArray(source)) return { name, items: source }
  if (!(source instanceof Dataset)) {
    const { features, rows } = source as PreparedExamples<E>
    return { name, items: features, rows }
  }
  const { features, rows, tooLong, maxLength, notes } = tokenize(source, name, how)
  for (const note of notes) how.onWarning(`The ${name}: ${note}`)
  if (tooLong.length) {
    const done = how.options.overlong === 'skip' ? 'left out' : 'cut'
    const first = tooLong.slice(0, 5).map(({ index }) => index)
    how.onWarning(
      `The ${name}: ${tooLong.length} of ${source.length} rows were longer than ${maxLength} tokens and were ${done} ` +
        `(rows ${first.join(', ')}${tooLong.length > first.length ? ', ...' : ''}).`,
    )
  }
  return { name, items: features as E[], rows }
}

function tokenize(dataset: Dataset, name: string, how: TokenizationOptions): TokenizedDataset {
  const { tokenizer, task, options } = how
  if (task === 'IMAGE_CLS') {
    throw new Error(`The ${name} has rows and not images that were decoded: give what prepareImages makes of them.`)
  }
  if (!tokenizer) throw new Error(`The ${name} has rows and not features: give the Trainer a tokenizer too.`)
  if (task === 'CAUSAL_LM') return tokenizeCausalLM(dataset, tokenizer, options as CausalLMOptions)
  if (task === 'SEQ_2_SEQ_LM') return tokenizeSeq2Seq(dataset, tokenizer, options as Seq2SeqOptions)
  if (task === 'QUESTION_ANS') {
    return tokenizeQuestionAnswering(dataset, tokenizer, options as QuestionAnsweringOptions)
  }
  if (task === 'TOKEN_CLS') {
    const labels = how.labels ?? tagNames(dataset, how.facts, options as TokenClassificationOptions)
    return tokenizeTokenClassification(dataset, tokenizer, { labels, ...(options as TokenClassificationOptions) })
  }
  if (task !== 'SEQ_CLS') {
    throw new Error(
      task === 'MASKED_LM'
        ? `The ${name} has rows and not features, and which tokens are masked is not for the Trainer to say: give features whose labels are the tokens behind the masks, -100 elsewhere.`
        : `The ${name} has rows and not features, and it is not known what for: give task 'SEQ_CLS' or 'CAUSAL_LM'.`,
    )
  }
  const labels =
    (options as ClassificationOptions).labels ??
    how.labels ??
    classNames(dataset, how.facts, options as ClassificationOptions)
  const own = options as ClassificationOptions
  return tokenizeClassification(dataset, tokenizer, { ...resolvedColumns(dataset, own), ...own, labels })
}

function resolvedColumns(dataset: Dataset, options: ClassificationOptions): ClassificationOptions {
  if (options.textColumn !== undefined && options.labelColumn !== undefined) return {}
  const { task: _, ...columns } = resolveColumns(dataset, 'SEQ_CLS')
  return columns
}

/**
 * The names of a classifier's classes in the order of their numbers: those of the configuration, or their numbers where
 * the rows have numbers for labels. With `discover` the rows themselves name the classes of a configuration that has no
 * names of its own; that is for training data only, since another data set may lack a class.
 */
export function classNames(
  dataset: Dataset,
  facts: ModelFacts,
  options: ClassificationOptions,
  discover = false,
): string[] {
  if (options.labels) return [...options.labels]
  const { labelColumn } = { ...resolvedColumns(dataset, options), ...options }
  return namesFor(discoverLabels(dataset, labelColumn), facts, discover)
}

/** The names of a token classifier's tags, as {@link classNames} finds those of classes. */
export function tagNames(
  dataset: Dataset,
  facts: ModelFacts,
  options: TokenClassificationOptions,
  discover = false,
): string[] {
  if (options.labels) return [...options.labels]
  const { tags } = tokenClassificationColumns(dataset, options.columns)
  return namesFor(discoverTags(dataset, tags), facts, discover)
}

function namesFor(found: string[], { num_labels = 0, id2label = {} }: ModelFacts, discover: boolean): string[] {
  const named = Array.from({ length: num_labels }, (_, i) => id2label[i] ?? `LABEL_${i}`)
  if (found.every(label => named.includes(label))) return named
  const numbers = named.map((_, i) => String(i))
  if (found.every(label => numbers.includes(label))) return numbers
  return discover && named.every((name, i) => name === `LABEL_${i}`) ? found : named
}

/**
 * Refuses features that the model cannot take: tokens outside the vocabulary, classes outside its labels, texts longer
 * than its table of positions, and examples without anything to learn.
 */
export function checkFeatures(
  examples: Examples<Feature>,
  facts: ModelFacts,
  options: { padToMultipleOf: number; task: TrainingTask | undefined; skipsFirst: boolean },
): void {
  const { num_labels, vocab_size = Number.POSITIVE_INFINITY } = facts
  const limit = facts.rope_parameters === undefined ? facts.max_position_embeddings : undefined
  examples.items.forEach((feature, i) => {
    const where = `The ${examples.name}, row ${rowOf(examples, i)}`
    const { inputIds, labels } = feature
    if (inputIds.length === 0) throw new Error(`${where}: there are no tokens; leave the row out, or give it a text.`)
    const padded = Math.ceil(inputIds.length / options.padToMultipleOf) * options.padToMultipleOf
    if (limit !== undefined && padded > limit) {
      const got = padded > inputIds.length ? `${inputIds.length} tokens, padded to ${padded}` : `${padded} tokens`
      throw new Error(
        `${where}: got ${got}, the model takes at most ${limit}; tokenise with maxLength: ${limit}, or leave the row out.`,
      )
    }
    const stranger = inputIds.find(id => !(Number.isInteger(id) && id >= 0 && id < vocab_size))
    if (stranger !== undefined) {
      throw new Error(
        `${where}: the token ${stranger} is outside the model's vocabulary of ${vocab_size}; tokenise with the model's own tokenizer.`,
      )
    }
    if (labels === undefined) return
    const targets = Array.isArray(labels) ? labels.slice(options.skipsFirst ? 1 : 0) : [labels]
    if (options.task === 'QUESTION_ANS') {
      if (targets.length === 2 && targets.every(at => isLabel(at, inputIds.length)) && targets[0] <= targets[1]) return
      throw new Error(
        `${where}: the labels are ${JSON.stringify(labels)}, expected the first and the last token of the answer, from 0 to ${inputIds.length - 1}.`,
      )
    }
    if (options.task === 'SEQ_2_SEQ_LM' && limit !== undefined && targets.length > limit) {
      throw new Error(
        `${where}: the target has ${targets.length} tokens, the model takes at most ${limit}; tokenise with maxTargetLength: ${limit}, or leave the row out.`,
      )
    }
    if (targets.every(label => label === IGNORE_INDEX)) {
      throw new Error(
        `${where}: there is nothing to learn, every label that counts is ${IGNORE_INDEX}; leave the row out.`,
      )
    }
    const classes = Array.isArray(labels) && predictsTokens(options.task) ? vocab_size : num_labels
    const wrong = targets.find(label => !isLabel(label, classes))
    if (wrong !== undefined) {
      throw new Error(
        `${where}: the label ${wrong} is not one of the model's ${classes ?? ''} classes` +
          `${classes === undefined ? '' : ` (0 to ${classes - 1})`}; open the model with numLabels to match, or correct the row.`,
      )
    }
  })
}

function isLabel(label: number, classes = Number.POSITIVE_INFINITY): boolean {
  return label === IGNORE_INDEX || (Number.isInteger(label) && label >= 0 && label < classes)
}

/** The row that example `i` came from. */
export function rowOf(examples: Examples<unknown>, i: number): number {
  return examples.rows?.[i] ?? i
}
