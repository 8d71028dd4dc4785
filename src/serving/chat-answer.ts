/** @file What POST /v1/chat/completions answers: a `chat.completion`, or its chunks. */
import type { AnswerPiece, Answers, RatedText, RatedToken, Usage } from './answers.ts'
import type { ChatRequest } from './chat-request.ts'
import { newId, now } from './ids.ts'
import { type ToolCall, ToolCallParser, type ToolPiece } from './tool-calls.ts'

type FinishReason = 'stop' | 'length' | 'tool_calls'

/** A part of an answer, with the calls of tools in it. */
interface ChatPiece extends ToolPiece {
  row: number
  tokens: RatedToken[]
  finished?: FinishReason
}

/** The whole answer. */
export async function chatCompletion(request: ChatRequest, answers: Answers) {
  const choices = request.rows.map((row, index) => ({
    index,
    message: { role: 'assistant' as const, content: '' as string | null, refusal: null, tool_calls: [] as ToolCall[] },
    logprobs: row.settings.logprobs === undefined ? null : { content: [] as unknown[], refusal: null },
    finish_reason: null as FinishReason | null,
  }))
  for await (const { row, text, calls, tokens, finished } of chatPieces(request, answers)) {
    const choice = choices[row]
    choice.message.content += text
    choice.message.tool_calls.push(...calls)
    choice.logprobs?.content.push(...tokens.map(ratedContent))
    choice.finish_reason = finished ?? null
  }
  return {
    id: newId('chatcmpl'),
    object: 'chat.completion' as const,
    created: now(),
    model: request.model.id,
    choices: choices.map(choice => {
      const { tool_calls, ...message } = choice.message
      return tool_calls.length
        ? { ...choice, message: { ...message, content: message.content || null, tool_calls } }
        : { ...choice, message }
    }),
    usage: answers.usage(request.promptTokens),
  }
}

/** The chunks of a streamed answer. */
export async function* chatChunks(request: ChatRequest, answers: Answers): AsyncGenerator<object, void> {
  const chunk = (choices: object[], usage: Usage | null = null) => ({
    ...{ id, object: 'chat.completion.chunk', created, model: request.model.id, choices },
    ...(request.includeUsage && { usage }),
  })
  const [id, created] = [newId('chatcmpl'), now()]
  const begun = new Set<number>()
  const callCounts = request.rows.map(() => 0)
  const begin = (index: number) => {
    begun.add(index)
    const delta = { role: 'assistant', content: '', refusal: null }
    return chunk([{ index, delta, logprobs: null, finish_reason: null }])
  }
  for await (const { row: index, text, calls, tokens, finished } of chatPieces(request, answers)) {
    if (!begun.has(index)) yield begin(index)
    const logprobs = tokens.length ? { content: tokens.map(ratedContent), refusal: null } : null
    if (text !== '' || tokens.length) yield chunk([{ index, delta: { content: text }, logprobs, finish_reason: null }])
    for (const call of calls) {
      const delta = { tool_calls: [{ index: callCounts[index]++, ...call }] }
      yield chunk([{ index, delta, logprobs: null, finish_reason: null }])
    }
    if (finished) yield chunk([{ index, delta: {}, logprobs: null, finish_reason: finished }])
  }
  if (request.includeUsage) yield chunk([], answers.usage(request.promptTokens))
}

async function* chatPieces(request: ChatRequest, answers: Answers): AsyncGenerator<ChatPiece, void> {
  const parsers = request.rows.map(() => (request.findsToolCalls ? new ToolCallParser() : undefined))
  const counts = request.rows.map(() => 0)
  for await (const piece of answers) {
    const { text, calls } = divide(piece, parsers[piece.row])
    counts[piece.row] += calls.length
    const finished = piece.finished === 'stop' && counts[piece.row] > 0 ? 'tool_calls' : piece.finished
    yield { row: piece.row, text, calls, tokens: piece.tokens, finished }
  }
}

function divide({ text, finished }: AnswerPiece, parser: ToolCallParser | undefined): ToolPiece {
  if (!parser) return { text, calls: [] }
  const pieces = [parser.push(text), ...(finished ? [parser.finish()] : [])]
  return { text: pieces.map(piece => piece.text).join(''), calls: pieces.flatMap(piece => piece.calls) }
}

function ratedContent({ top, ...token }: RatedToken) {
  return { ...named(token), top_logprobs: top.map(named) }
}

const named = ({ text, logprob, bytes }: RatedText) => ({ token: text, logprob, bytes })
