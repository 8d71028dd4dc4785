/** @file What POST /v1/completions answers: a `text_completion`, whole or in pieces. */
import type { Answers, RatedToken, Usage } from './answers.ts'
import type { CompletionRequest } from './completion-request.ts'
import { newId, now } from './ids.ts'

/** Log-probabilities as this older interface tells them. */
interface Logprobs {
  tokens: string[]
  token_logprobs: number[]
  top_logprobs: Record<string, number>[]
  /** Where each token begins in the text. */
  text_offset: number[]
}

/** The whole answer. */
export async function completion(request: CompletionRequest, answers: Answers) {
  const choices = request.rows.map((row, index) => ({
    text: request.echoes[index],
    index,
    logprobs: row.settings.logprobs === undefined ? null : noLogprobs(),
    finish_reason: null as 'stop' | 'length' | null,
  }))
  const offsets = request.echoes.map(text => text.length)
  for await (const { row, text, tokens, finished } of answers) {
    const choice = choices[row]
    choice.text += text
    if (choice.logprobs) offsets[row] = addTokens(choice.logprobs, tokens, offsets[row])
    choice.finish_reason = finished ?? null
  }
  return {
    ...{ id: newId('cmpl'), object: 'text_completion' as const, created: now(), model: request.model.id },
    choices,
    usage: answers.usage(request.promptTokens),
  }
}

/** The pieces of a streamed answer. */
export async function* completionChunks(request: CompletionRequest, answers: Answers): AsyncGenerator<object, void> {
  const [id, created] = [newId('cmpl'), now()]
  const chunk = (choices: object[], usage: Usage | null = null) => ({
    ...{ id, object: 'text_completion', created, model: request.model.id, choices },
    ...(request.includeUsage && { usage }),
  })
  for (const [index, text] of request.echoes.entries()) {
    if (text !== '') yield chunk([{ text, index, logprobs: null, finish_reason: null }])
  }
  const offsets = request.echoes.map(text => text.length)
  for await (const { row: index, text, tokens, finished } of answers) {
    const logprobs = request.rows[index].settings.logprobs === undefined ? null : noLogprobs()
    if (logprobs) offsets[index] = addTokens(logprobs, tokens, offsets[index])
    yield chunk([{ text, index, logprobs, finish_reason: finished ?? null }])
  }
  if (request.includeUsage) yield chunk([], answers.usage(request.promptTokens))
}

const noLogprobs = (): Logprobs => ({ tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] })

function addTokens(logprobs: Logprobs, tokens: readonly RatedToken[], offset: number): number {
  for (const { text, logprob, top } of tokens) {
    logprobs.tokens.push(text)
    logprobs.token_logprobs.push(logprob)
    logprobs.top_logprobs.push(Object.fromEntries(top.map(one => [one.text, one.logprob])))
    logprobs.text_offset.push(offset)
    offset += text.length
  }
  return offset
}
