/** @file Rows of words with a tag each into features of token classifiers. */
import { didYouMean } from '../util/nearest.ts'
import type { Dataset, Row } from './dataset.ts'
import {
  checkOverlong,
  type Feature,
  IGNORE_INDEX,
  type Overlong,
  refuseTooLong,
  resolveMaxLength,
  type TokenizedDataset,
  type TooLong,
} from './features.ts'
import { count, list } from './messages.ts'
import { type Role, resolveRoles } from './roles.ts'
import type { Tokenizer } from './tokenizer.ts'

/** Options of {@link tokenizeTokenClassification}. */
export interface TokenClassificationOptions {
  /** The parts `tokens` and `tags` to the data set's columns. Default: what their names tell. */
  columns?: Record<string, string>
  /**
   * Tag names in class order. By default they are discovered from this data set; for an evaluation set give the
   * training set's, so that both agree.
   */
  labels?: readonly string[]
  /** Longest example in tokens, special tokens included. Default: the tokenizer's maximum. */
  maxLength?: number
  /** What happens to longer examples. 'truncate' cuts the last words. Default 'error'. */
  overlong?: Overlong
}

/** Token classification features with the names of their classes. */
export interface TokenizedTokenClassification extends TokenizedDataset {
  /** `labels[c]` is the name of class c. */
  labels: string[]
  columns: Record<string, string>
  /** `words[i]` are the words of feature i that have a label, in the order of the labels. */
  words: string[][]
}

const ROLES: Readonly<Record<'tokens' | 'tags', Role>> = {
  tokens: { names: ['tokens', 'words'] },
  tags: { names: ['tags', 'ner_tags', 'pos_tags', 'chunk_tags', 'labels', 'label'] },
}

/** The columns of words and tags. Throws where their names do not tell. */
export function tokenClassificationColumns(
  dataset: Dataset,
  given?: Readonly<Record<string, string>>,
): { tokens: string; tags: string } {
  return resolveRoles(dataset, ROLES, given) as { tokens: string; tags: string }
}

/**
 * The tag names of a data set, in an order that does not depend on the order of rows: numerically when all are whole
 * numbers, else `O` first and then alphabetically by code unit.
 */
export function discoverTags(dataset: Dataset, column: string): string[] {
  const names = new Set<string>()
  let index = 0
  for (const row of dataset) {
    for (const tag of cells(row, column, index, 'tags')) names.add(tag)
    index++
  }
  const sorted = [...names].sort()
  if (sorted.every(name => /^-?\d+$/.test(name))) return sorted.sort((a, b) => Number(a) - Number(b))
  return names.has('O') ? ['O', ...sorted.filter(name => name !== 'O')] : sorted
}

/**
 * Turns rows of words and tags, two lists of one length, into features. A word's tag is the label of its first token;
 * its other tokens, and those the tokenizer puts around a text, have -100. Each word is encoded as it stands in a text.
 * A tag that is not among `labels` is an error naming the row.
 */
export function tokenizeTokenClassification(
  dataset: Dataset,
  tokenizer: Tokenizer,
  options: TokenClassificationOptions = {},
): TokenizedTokenClassification {
  const { overlong = 'error' } = options
  checkOverlong(overlong)
  const maxLength = resolveMaxLength(options.maxLength, tokenizer)
  const columns = tokenClassificationColumns(dataset, options.columns)
  const labels = options.labels ? [...options.labels] : discoverTags(dataset, columns.tags)
  const classes = new Map(labels.map((name, i) => [name, i]))
  if (classes.size < labels.length) throw new Error(`labels names a class twice: ${list(labels)}.`)
  const { before, after } = tokenizer.surroundingTokens()
  const hasTypes = tokenizer.encode('a').tokenTypeIds !== undefined
  const encodeWord = wordEncoder(tokenizer)
  const room = maxLength - before.length - after.length

  const result: TokenizedTokenClassification = {
    ...{ features: [], rows: [], tooLong: [], maxLength, notes: [], labels, columns, words: [] },
  }
  const empty: number[] = []
  let index = -1
  for (const row of dataset) {
    index++
    const words = cells(row, columns.tokens, index, 'tokens')
    const tags = cells(row, columns.tags, index, 'tags')
    if (words.length !== tags.length) {
      throw new Error(`Row ${index}: there are ${words.length} tokens and ${tags.length} tags; they must match.`)
    }
    const encoded = words.map((word, i) => encodeWord(word, i === 0))
    if (encoded.some(tokens => tokens.length === 0)) empty.push(index)
    const total = encoded.reduce((sum, tokens) => sum + tokens.length, 0)
    let kept = words.length
    if (total > room) {
      result.tooLong.push({ index, length: total + before.length + after.length } satisfies TooLong)
      if (overlong !== 'truncate') continue
      for (let size = total; size > room; kept--) size -= encoded[kept - 1].length
    }
    const inputIds = [...before, ...encoded.slice(0, kept).flat(), ...after]
    const targets = encoded
      .slice(0, kept)
      .flatMap((tokens, i) => tokens.map((_, j) => (j === 0 ? classOf(tags[i], index, classes) : IGNORE_INDEX)))
    const feature: Feature = {
      inputIds,
      attentionMask: inputIds.map(() => 1),
      ...(hasTypes && { tokenTypeIds: inputIds.map(() => 0) }),
      labels: [...before.map(() => IGNORE_INDEX), ...targets, ...after.map(() => IGNORE_INDEX)],
    }
    result.features.push(feature)
    result.rows.push(index)
    result.words.push(words.slice(0, kept).filter((_, i) => encoded[i].length > 0))
  }
  if (overlong === 'error') refuseTooLong(result.tooLong, dataset.length, maxLength)
  if (empty.length) {
    result.notes.push(
      `${count(empty.length, 'row')} (first: ${empty[0]}) have words that the tokenizer makes no token of: their tags do not count.`,
    )
  }
  return result
}

/** Encodes single words as they stand in a text: behind another word, unless they are the first. */
export function wordEncoder(tokenizer: Tokenizer): (word: string, isFirst: boolean) => number[] {
  const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: false }).inputIds
  const front = encode('a')
  const known = new Map<string, number[]>()
  return (word, isFirst) => {
    const key = `${isFirst} ${word}`
    let tokens = known.get(key)
    if (!tokens) {
      const behind = isFirst ? [] : encode(`a ${word}`)
      const fits = behind.length > front.length && front.every((id, i) => behind[i] === id)
      tokens = fits ? behind.slice(front.length) : encode(word)
      known.set(key, tokens)
    }
    return tokens
  }
}

function cells(row: Row, column: string, index: number, what: string): string[] {
  const value = row[column]
  if (Array.isArray(value) && value.every(cell => typeof cell === 'string' || Number.isInteger(cell))) {
    return value.map(String)
  }
  throw new Error(
    `Row ${index}: the ${what} in column "${column}" are ${value === undefined ? 'missing' : JSON.stringify(value)}; ` +
      'expected a list of strings (tags may be whole numbers).',
  )
}

function classOf(tag: string, index: number, classes: ReadonlyMap<string, number>): number {
  const label = classes.get(tag)
  if (label !== undefined) return label
  throw new Error(
    `Row ${index}: the tag "${tag}" is not among the ${classes.size} known ones: ${list(classes.keys())}.` +
      `${didYouMean(tag, classes.keys())} Tags are learnt from the training set; add rows with it there, or leave this row out.`,
  )
}
