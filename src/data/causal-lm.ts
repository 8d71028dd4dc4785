/** @file Rows of prompts, conversations or plain text into causal language modelling features. */
import { didYouMean } from '../util/nearest.ts'
import type { ChatMessage, RenderedChat } from './chat-template.ts'
import { type CausalLMFormat, causalLMFormats, resolveColumns } from './columns.ts'
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
  textCell,
} from './features.ts'
import { count, list } from './messages.ts'
import { alpacaPrompt, chatMessages, type Segment, shareGptMessages, toolSchemas } from './templates.ts'
import type { Tokenizer } from './tokenizer.ts'

/** Options of {@link tokenizeCausalLM}. */
export interface CausalLMOptions {
  /** How rows are read. Default: what {@link resolveColumns} finds, which throws when that is not certain. */
  format?: CausalLMFormat
  /** The format's column names to the data set's, such as `{ prompt: 'question', completion: 'answer' }`. */
  columns?: Record<string, string>
  /** Longest example in tokens. Default: the tokenizer's maximum. */
  maxLength?: number
  /** Learn only completions and assistant turns; when false every token counts. Default true. */
  completionOnly?: boolean
  /** End each example with the end-of-text token. Conversations never get one: their template ends turns. Default true. */
  addEos?: boolean
  /** What happens to longer examples. 'truncate' cuts the end. Default 'error'. */
  overlong?: Overlong
}

/** Causal language modelling features, and how the rows were read. */
export interface TokenizedCausalLM extends TokenizedDataset {
  format: CausalLMFormat
  /** The format's column names to the data set's. */
  columns: Record<string, string>
}

/**
 * Turns rows into token sequences with a label for each token: the token itself where it is learnt, -100 elsewhere (the
 * shift by one is the model's). Rows are `{ prompt, completion }`, `{ messages }`, `{ conversations }` (ShareGPT),
 * `{ instruction, input?, output }` (Alpaca) or `{ text }`; texts are joined as they are, with nothing put between.
 *
 * The boundary between prompt and completion falls between two tokens, exactly: the prompt is encoded alone and the
 * whole text is encoded, and when the whole does not begin with the prompt's tokens (a token would reach across the
 * boundary) the two are encoded apart. At generation the prompt is encoded alone too, so the model meets the same tokens.
 * A tokenizer's beginning-of-text token comes first; what it would put at the end does not: `addEos` decides that.
 *
 * Of a conversation the assistant's turns are learnt, with the mark that ends them. A template with `{% generation %}`
 * blocks says itself what that is. Else their places are found by rendering the template turn by turn; a template that
 * rewrites earlier turns when later ones arrive is refused.
 *
 * An example in which nothing would be learnt (an empty completion, or everything learnt was cut away) is an error.
 */
export function tokenizeCausalLM(
  dataset: Dataset,
  tokenizer: Tokenizer,
  options: CausalLMOptions = {},
): TokenizedCausalLM {
  const { completionOnly = true, addEos = true, overlong = 'error' } = options
  checkOverlong(overlong)
  const maxLength = resolveMaxLength(options.maxLength, tokenizer)
  const { format, columns } = chooseFormat(dataset, options)
  const isChat = format === 'messages' || format === 'conversations'
  const eos = addEos && !isChat ? endOfText(tokenizer) : undefined
  const before = isChat ? [] : tokenizer.surroundingTokens().before
  const notes = new Notes()

  const features: Feature[] = []
  const rows: number[] = []
  const tooLong: TooLong[] = []
  let index = -1
  for (const row of dataset) {
    index++
    const segments = segmentsOf(row, index, format, columns, tokenizer, notes)
    const { ids, learnt } = encodeSegments(tokenizer, segments)
    const inputIds = [...before, ...ids]
    const labels = [...before.map(() => !completionOnly), ...learnt.map(flag => flag || !completionOnly)].map(
      (flag, i) => (flag ? inputIds[i] : IGNORE_INDEX),
    )
    const hasContent = completionOnly ? learnt.includes(true) : ids.length > 0
    if (eos !== undefined && inputIds[inputIds.length - 1] !== eos) {
      inputIds.push(eos)
      labels.push(eos)
    }
    if (!hasContent) throw new Error(nothingLearnt(index, format))
    const length = inputIds.length
    if (length > maxLength) {
      tooLong.push({ index, length })
      if (overlong !== 'truncate') continue
      inputIds.length = maxLength
      labels.length = maxLength
      if (labels.every(label => label === IGNORE_INDEX)) throw new Error(promptFillsAll(index, length, maxLength))
    }
    features.push({ inputIds, attentionMask: new Array(inputIds.length).fill(1), labels })
    rows.push(index)
  }
  if (overlong === 'error') refuseTooLong(tooLong, dataset.length, maxLength)
  return { features, rows, tooLong, maxLength, notes: notes.all(), format, columns }
}

function chooseFormat(dataset: Dataset, options: CausalLMOptions): { format: CausalLMFormat; columns: Columns } {
  const given = options.columns ?? {}
  const format = options.format ?? (options.columns ? formatOfNames(Object.keys(given)) : undefined)
  if (format === undefined) return resolveColumns(dataset, 'CAUSAL_LM')
  const shape = causalLMFormats[format]
  if (!shape) {
    const known = Object.keys(causalLMFormats)
    throw new Error(`The format "${format}" is not known.${didYouMean(format, known)} Known are ${list(known)}.`)
  }
  const stray = Object.keys(given).find(name => !shape.needs.includes(name) && !shape.may.includes(name))
  if (stray !== undefined) {
    throw new Error(
      `columns names "${stray}", which the format ${format} does not have; it has ${list([...shape.needs, ...shape.may])}.`,
    )
  }
  const columns: Columns = {}
  for (const name of [...shape.needs, ...shape.may]) {
    const column = given[name] ?? name
    if (dataset.columns.includes(column)) columns[name] = column
    else if (shape.needs.includes(name) || given[name] !== undefined) {
      throw new Error(
        `The format ${format} needs "${name}", but the data set has no column "${column}".` +
          `${didYouMean(column, dataset.columns)} Its columns are ${list(dataset.columns)}; name the right one with columns.`,
      )
    }
  }
  return { format, columns }
}

type Columns = Record<string, string>

/** The format whose needed columns are among `names`. */
function formatOfNames(names: string[]): CausalLMFormat {
  const fitting = (Object.keys(causalLMFormats) as CausalLMFormat[]).filter(format =>
    causalLMFormats[format].needs.every(need => names.includes(need)),
  )
  if (fitting.length === 1) return fitting[0]
  throw new Error(
    `columns names ${list(names)}, which ${fitting.length ? 'fits several formats' : 'fits no format'}. Name all columns ` +
      `a format needs (${Object.entries(causalLMFormats)
        .map(([format, { needs }]) => `${format}: ${needs.join(', ')}`)
        .join('; ')}), or give format.`,
  )
}

function segmentsOf(
  row: Row,
  index: number,
  format: CausalLMFormat,
  columns: Columns,
  tokenizer: Tokenizer,
  notes: Notes,
): Segment[] {
  const where = `Row ${index}`
  const cell = (name: string) => textCell(row, columns[name], index)
  const optional = (name: string) => {
    const value = columns[name] === undefined ? undefined : row[columns[name]]
    return value === undefined || value === null ? '' : cell(name)
  }
  const prompted = (prompt: string, completion: string): Segment[] => [
    { text: prompt, learnt: false },
    { text: completion, learnt: true },
  ]
  switch (format) {
    case 'text':
      return [{ text: cell('text'), learnt: true }]
    case 'prompt-completion':
      return prompted(cell('prompt'), cell('completion'))
    case 'alpaca':
      return prompted(alpacaPrompt(cell('instruction'), optional('input')), cell('output'))
    default: {
      const tools = columns.tools === undefined ? undefined : toolSchemas(row[columns.tools], where)
      const source = tokenizer.templateSource({ tools })
      if (tools && !/\btools\b/.test(source)) {
        notes.add(index, 'have tools, but the chat template does not mention tools: the model does not see them')
      }
      const toolCalls = /\btool_calls\b/.test(source)
      const messages =
        format === 'messages'
          ? chatMessages(row[columns.messages], where)
          : shareGptMessages(row[columns.conversations], where, { system: optional('system'), toolCalls })
      if (!toolCalls && messages.some(message => message.tool_calls)) {
        throw new Error(
          `${where}: a message has tool_calls, which the chat template of ${tokenizer.name} would leave out. Use a ` +
            `tokenizer whose template writes tool calls, or put them into content as text.`,
        )
      }
      return chatSegments(tokenizer, messages, tools, where)
    }
  }
}

/**
 * What is learnt of a conversation: what stands in the template's `{% generation %}` blocks; where it has none, what each
 * turn of the assistant adds after its opening, for which the conversation is rendered turn by turn.
 */
function chatSegments(
  tokenizer: Tokenizer,
  messages: ChatMessage[],
  tools: unknown[] | undefined,
  where: string,
): Segment[] {
  if (tokenizer.marksGeneration({ tools })) return markedSegments(tokenizer.renderChat(messages, { tools }))
  const render = (end: number, addGenerationPrompt: boolean) =>
    tokenizer.applyChatTemplate(messages.slice(0, end), { tools, addGenerationPrompt, tokenize: false })
  const whole = render(messages.length, false)
  const segments: Segment[] = []
  let done = 0
  messages.forEach((message, i) => {
    if (message.role !== 'assistant') return
    const opening = i === 0 ? '' : render(i, true)
    const closed = i === messages.length - 1 ? whole : render(i + 1, false)
    if (!closed.startsWith(opening) || !whole.startsWith(closed) || opening.length < done) {
      throw new Error(
        `${where}: the chat template of ${tokenizer.name} does not write message ${i} as a continuation of the turns ` +
          `before it, so its place in the text is unknown. Give rows of { prompt, completion } instead, one for each turn ` +
          `to be learnt, or train on every token with a column of plain text.`,
      )
    }
    segments.push({ text: whole.slice(done, opening.length), learnt: false })
    segments.push({ text: whole.slice(opening.length, closed.length), learnt: true })
    done = closed.length
  })
  segments.push({ text: whole.slice(done), learnt: false })
  return segments
}

function markedSegments({ text, assistantSpans }: RenderedChat): Segment[] {
  const segments: Segment[] = []
  let done = 0
  for (const [start, end] of assistantSpans) {
    segments.push({ text: text.slice(done, start), learnt: false }, { text: text.slice(start, end), learnt: true })
    done = end
  }
  return [...segments, { text: text.slice(done), learnt: false }]
}

/**
 * Encodes segments as one text where no token reaches across a boundary between them, and from the first such boundary
 * on apart. Special tokens are not added.
 */
function encodeSegments(tokenizer: Tokenizer, segments: Segment[]): { ids: number[]; learnt: boolean[] } {
  const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: false }).inputIds
  const parts = segments.filter(({ text }) => text !== '')
  let text = ''
  let ids: number[] = []
  const learnt: boolean[] = []
  for (const part of parts) {
    text += part.text
    const whole = encode(text)
    ids = ids.every((id, i) => whole[i] === id) ? whole : [...ids, ...encode(part.text)]
    while (learnt.length < ids.length) learnt.push(part.learnt)
  }
  return { ids, learnt }
}

function endOfText(tokenizer: Tokenizer): number {
  if (tokenizer.eosTokenId !== undefined) return tokenizer.eosTokenId
  throw new Error(
    `${tokenizer.name} has no end-of-text token (eos_token in tokenizer_config.json). Name one there, or pass ` +
      `addEos: false; the model then does not learn where to stop.`,
  )
}

function nothingLearnt(index: number, format: CausalLMFormat): string {
  const what = {
    text: 'its text is empty',
    'prompt-completion': 'its completion is empty',
    alpaca: 'its output is empty',
    messages: 'it has no assistant turn',
    conversations: 'it has no assistant (gpt) turn',
  }[format]
  return `Row ${index}: nothing would be learnt, since ${what}. Fill it, or leave the row out with dataset.filter.`
}

function promptFillsAll(index: number, length: number, maxLength: number): string {
  return (
    `Row ${index}: cut from ${length} to ${maxLength} tokens, nothing to be learnt is left, since the prompt fills it all. ` +
    `Raise maxLength, shorten the prompt, or leave such rows out with overlong: 'skip'.`
  )
}

/** Remarks that hold for many rows, said once. */
class Notes {
  readonly #rows = new Map<string, number[]>()

  add(index: number, remark: string): void {
    const rows = this.#rows.get(remark)
    if (rows) rows.push(index)
    else this.#rows.set(remark, [index])
  }

  all(): string[] {
    return Array.from(this.#rows, ([remark, rows]) => `${count(rows.length, 'row')} (first: ${rows[0]}) ${remark}.`)
  }
}
