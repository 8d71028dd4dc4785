/** @file Metrics of token classifiers: of tokens, and of the entities that tags like B-PER and I-PER mark. */
import { IGNORE_INDEX } from '../data/index.ts'
import { accuracy, argmax } from './metrics.ts'

/** The tags that a model gives the tokens of one text that have a label, and those labels. */
function tagsOf(logits: ArrayLike<number>, labels: readonly number[]): { predicted: number[]; actual: number[] } {
  const width = logits.length / labels.length
  const counted = labels.flatMap((label, i) => (label === IGNORE_INDEX ? [] : [i]))
  const row = (i: number) => Array.from({ length: width }, (_, j) => logits[i * width + j])
  return { predicted: counted.map(i => argmax(row(i))), actual: counted.map(i => labels[i]) }
}

/**
 * The metrics of a token classifier: `accuracy` over the tokens with a label; where the names of classes are tags of
 * entities (`B-…`, `I-…`), also `precision`, `recall` and `f1` of whole entities, which count when type and both ends are
 * right.
 *
 * @param logits the scores of each text, `tokens * classes` row major
 * @param labels the class of each token, -100 where none counts
 */
export function tagMetrics(
  logits: readonly ArrayLike<number>[],
  labels: readonly (readonly number[])[],
  id2label: Readonly<Record<number, string>>,
): Record<string, number> {
  const texts = labels.map((own, i) => tagsOf(logits[i], own))
  const metrics = {
    accuracy: accuracy(
      texts.flatMap(({ predicted }) => predicted),
      texts.flatMap(({ actual }) => actual),
    ),
  }
  if (!Object.values(id2label).some(name => /^[BI]-/.test(name))) return metrics
  const named = (tags: readonly number[]) => tags.map(tag => id2label[tag] ?? 'O')
  const pairs = texts.map(({ predicted, actual }) => [named(predicted), named(actual)] as const)
  return { ...metrics, ...entityScores(pairs) }
}

/** Precision, recall and F1 of the entities in several texts, each with its predicted and its actual tags. */
export function entityScores(
  texts: readonly (readonly [predicted: readonly string[], actual: readonly string[]])[],
): Record<'precision' | 'recall' | 'f1', number> {
  let [hits, predictions, occurrences] = [0, 0, 0]
  for (const [predicted, actual] of texts) {
    const [found, there] = [entities(predicted), new Set(entities(actual))]
    predictions += found.length
    occurrences += there.size
    hits += found.filter(entity => there.has(entity)).length
  }
  const share = (total: number) => (total === 0 ? 0 : hits / total)
  const both = predictions + occurrences
  return { precision: share(predictions), recall: share(occurrences), f1: both === 0 ? 0 : (2 * hits) / both }
}

/**
 * The entities of a text, each as `type start end`. As in CoNLL's evaluation an entity begins with `B-`, and with an
 * `I-` that does not continue one of its type.
 */
function entities(tags: readonly string[]): string[] {
  const found: string[] = []
  let [type, start] = ['', 0]
  const close = (end: number) => {
    if (type !== '') found.push(`${type} ${start} ${end}`)
  }
  tags.forEach((tag, i) => {
    const [, prefix, own] = /^([BI])-(.*)$/s.exec(tag) ?? ['', '', '']
    if (prefix === 'I' && own === type) return
    close(i)
    type = own
    start = i
  })
  close(tags.length)
  return found
}
