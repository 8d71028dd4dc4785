/** @file Rows of question, context and answer into features of models that find the answer in the context. */
import type { Dataset, Row } from './dataset.ts'
import {
  checkOverlong,
  type Feature,
  type Overlong,
  refuseTooLong,
  resolveMaxLength,
  type TokenizedDataset,
  textCell,
} from './features.ts'
import { count } from './messages.ts'
import { type Role, resolveRoles } from './roles.ts'
import type { Encoding, Tokenizer } from './tokenizer.ts'

/** Options of {@link tokenizeQuestionAnswering}. */
export interface QuestionAnsweringOptions {
  /** The parts `question`, `context`, `answer` and `answer_start` to the data set's columns. Default: what names tell. */
  columns?: Record<string, string>
  /** Longest example in tokens, special tokens included. Default: the tokenizer's maximum. */
  maxLength?: number
  /**
   * What happens to longer examples. 'truncate' cuts the end of the context and leaves out rows whose answer stood
   * there. Default 'error'.
   */
  overlong?: Overlong
  /** Whether rows have answers (true); those to be predicted need none. */
  hasAnswers?: boolean
}

/** Features of questions with their answers as `labels`: the first and the last token, `[0, 0]` where there is none. */
export interface TokenizedQuestionAnswering extends TokenizedDataset {
  columns: Record<string, string>
}

const ROLES: Readonly<Record<string, Role>> = {
  question: { names: ['question'] },
  context: { names: ['context', 'passage', 'paragraph'] },
  answer: { names: ['answer', 'answers', 'answer_text'] },
  answer_start: { names: ['answer_start', 'start'], optional: true },
}

/**
 * Turns rows into pairs of question and context. The answer is `answer` with `answer_start`, the number of the character
 * of the context at which it begins, or as in SQuAD `answers: { text: [...], answer_start: [...] }`, of which the first
 * counts. An answer whose start is not given must occur once in the context. An empty answer is none: its place is the
 * first token.
 */
export function tokenizeQuestionAnswering(
  dataset: Dataset,
  tokenizer: Tokenizer,
  options: QuestionAnsweringOptions = {},
): TokenizedQuestionAnswering {
  const { overlong = 'error', hasAnswers = true } = options
  checkOverlong(overlong)
  const maxLength = resolveMaxLength(options.maxLength, tokenizer)
  const roles = hasAnswers ? ROLES : { question: ROLES.question, context: ROLES.context }
  const columns = resolveRoles(dataset, roles, options.columns)
  const result: TokenizedQuestionAnswering = {
    ...{ features: [], rows: [], tooLong: [], maxLength, notes: [], columns },
  }
  const [lost, unplaced]: number[][] = [[], []]
  let index = -1
  for (const row of dataset) {
    index++
    const [question, context] = [columns.question, columns.context].map(column => textCell(row, column, index))
    const pair = encodePair(tokenizer, question, context, index)
    const span = hasAnswers ? answerTokens(tokenizer, pair, context, answerOf(row, columns, context, index)) : NONE
    if (span.unsure) unplaced.push(index)
    const length = pair.inputIds.length
    let feature: Feature = featureOf(pair, span)
    if (length > maxLength) {
      result.tooLong.push({ index, length })
      if (overlong !== 'truncate') continue
      const cut = cutContext(pair, length - maxLength, index, maxLength)
      if (span.last >= cut.contextTokens![1] && span !== NONE) {
        lost.push(index)
        continue
      }
      feature = featureOf(cut, span)
    }
    result.features.push(feature)
    result.rows.push(index)
  }
  if (overlong === 'error') refuseTooLong(result.tooLong, dataset.length, maxLength)
  if (lost.length) {
    result.notes.push(`${count(lost.length, 'row')} (first: ${lost[0]}) lost the answer in the cut and were left out.`)
  }
  if (unplaced.length) {
    result.notes.push(
      `${count(unplaced.length, 'row')} (first: ${unplaced[0]}) have answers that begin or end within a token: the whole token counts.`,
    )
  }
  return result
}

interface Pair extends Encoding {
  /** The first token of the context, and the one behind its last. */
  contextTokens: [number, number]
}

/** The first and last token of an answer; `unsure` where its ends are not those of tokens. */
interface Span {
  first: number
  last: number
  unsure?: boolean
}

/** No answer: the place that it has by convention. */
const NONE: Span = { first: 0, last: 0 }

function featureOf({ inputIds, attentionMask, tokenTypeIds, contextTokens }: Pair, { first, last }: Span): Feature {
  return {
    inputIds,
    attentionMask,
    ...(tokenTypeIds && { tokenTypeIds }),
    labels: [first, last],
    contextTokens,
  }
}

function encodePair(tokenizer: Tokenizer, question: string, context: string, index: number): Pair {
  const whole = tokenizer.encode(question, { pair: context })
  const own = tokenizer.encode(context, { addSpecialTokens: false }).inputIds
  if (own.length === 0) throw new Error(`Row ${index}: the context is empty; fill it, or leave the row out.`)
  let start = whole.inputIds.length - own.length
  while (start >= 0 && !own.every((id, i) => whole.inputIds[start + i] === id)) start--
  if (start < 0) {
    throw new Error(
      `Row ${index}: ${tokenizer.name} encodes the context otherwise behind a question than alone, so answers cannot be placed; take another tokenizer.`,
    )
  }
  return { ...whole, contextTokens: [start, start + own.length] }
}

function cutContext(pair: Pair, excess: number, index: number, maxLength: number): Pair {
  const [first, behind] = pair.contextTokens
  const end = behind - excess
  if (end <= first) {
    throw new Error(
      `Row ${index}: cut to ${maxLength} tokens, nothing of the context is left, since the question fills it all. Raise maxLength.`,
    )
  }
  const cut = (values: number[]) => [...values.slice(0, end), ...values.slice(behind)]
  const { inputIds, attentionMask, tokenTypeIds } = pair
  return {
    inputIds: cut(inputIds),
    attentionMask: cut(attentionMask),
    ...(tokenTypeIds && { tokenTypeIds: cut(tokenTypeIds) }),
    contextTokens: [first, end],
  }
}

/** The place of an answer in its context, in characters. */
interface Answer {
  start: number
  text: string
}

function answerOf(row: Row, columns: Record<string, string>, context: string, index: number): Answer | undefined {
  const given = row[columns.answer]
  const nested = given as { text?: unknown; answer_start?: unknown } | null
  const isNested = typeof nested === 'object' && nested !== null && !Array.isArray(nested) && 'text' in nested
  const first = (value: unknown) => (Array.isArray(value) ? value[0] : value)
  const text = first(isNested ? nested.text : given) ?? ''
  if (typeof text !== 'string') {
    throw new Error(`Row ${index}: the answer is ${JSON.stringify(text)}; expected a text, or { text, answer_start }.`)
  }
  if (text === '') return undefined
  const start = first(isNested ? nested.answer_start : row[columns.answer_start])
  return { text, start: start === undefined || start === null ? onlyPlace(text, context, index) : checked() }

  function checked(): number {
    const at = Number(start)
    // Python counts code points, JavaScript UTF-16 units: they differ behind an emoji.
    const places = Number.isInteger(at) && at >= 0 ? [[...context].slice(0, at).join('').length, at] : []
    const place = places.find(candidate => context.startsWith(text as string, candidate))
    if (place !== undefined) return place
    const found = context.indexOf(text as string)
    throw new Error(
      `Row ${index}: the answer ${JSON.stringify(text)} does not begin at character ${start} of the context` +
        `${found >= 0 ? `, but at ${found}` : ', and does not occur in it'}; correct answer_start (characters count from 0).`,
    )
  }
}

function onlyPlace(text: string, context: string, index: number): number {
  const at = context.indexOf(text)
  if (at >= 0 && context.indexOf(text, at + 1) < 0) return at
  throw new Error(
    `Row ${index}: the answer ${JSON.stringify(text)} ${at < 0 ? 'does not occur in the context' : 'occurs more than once in the context, and choosing would be a guess'}; ` +
      'give answer_start, the number of the character at which it begins.',
  )
}

/** The tokens that an answer lies in, by the tokens of the context up to its ends. */
function answerTokens(tokenizer: Tokenizer, pair: Pair, context: string, answer: Answer | undefined): Span {
  if (!answer) return NONE
  const [start, behind] = pair.contextTokens
  const own = pair.inputIds.slice(start, behind)
  const tokensTo = (end: number) => {
    const ids = tokenizer.encode(context.slice(0, end), { addSpecialTokens: false }).inputIds
    const differs = ids.findIndex((id, i) => own[i] !== id)
    return { same: differs < 0 ? ids.length : differs, reachesAcross: differs >= 0 }
  }
  // A blank before the answer belongs to its first token, or to none.
  const before = tokensTo(context.slice(0, answer.start).trimEnd().length)
  const upTo = tokensTo(answer.start + answer.text.trimEnd().length)
  const first = Math.min(before.same, own.length - 1)
  const last = Math.max(first, upTo.reachesAcross ? Math.min(upTo.same, own.length - 1) : upTo.same - 1)
  return { first: start + first, last: start + last, unsure: before.reachesAcross || upTo.reachesAcross }
}
