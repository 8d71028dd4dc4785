/** @file Finding calls of tools in an answer, where the template's convention is clear: JSON within `<tool_call>`. */
import { randomBytes } from 'node:crypto'
import { beginningLength } from './answer-text.ts'

const OPEN = '<tool_call>'
const CLOSE = '</tool_call>'

/** A call as OpenAI's interface tells it. */
export interface ToolCall {
  id: string
  type: 'function'
  function: { name: string; arguments: string }
}

/** What became certain of an answer. */
export interface ToolPiece {
  text: string
  calls: ToolCall[]
}

/** Whether a chat template writes calls as Hermes and Qwen do. */
export function writesToolCalls(template: string): boolean {
  return template.includes(OPEN) && template.includes(CLOSE)
}

/**
 * Divides an answer into text and calls. What claims to be a call and is not valid JSON stays text; white space around
 * calls belongs to them.
 */
export class ToolCallParser {
  #held = ''
  #hasCalls = false

  /** Takes the next text. */
  push(text: string): ToolPiece {
    this.#held += text
    const piece: ToolPiece = { text: '', calls: [] }
    while (true) {
      const start = this.#held.indexOf(OPEN)
      if (start < 0) {
        const certain = this.#held.length - beginningLength(this.#held, [OPEN])
        piece.text += this.#take(this.#held.slice(0, certain).trimEnd().length)
        return piece
      }
      piece.text += this.#take(this.#held.slice(0, start).trimEnd().length)
      const end = this.#held.indexOf(CLOSE)
      if (end < 0) return piece
      const block = this.#take(end + CLOSE.length)
      const call = parseCall(block.slice(block.indexOf(OPEN) + OPEN.length, -CLOSE.length))
      if (call) piece.calls.push(call)
      else piece.text += block
      this.#hasCalls ||= call !== undefined
    }
  }

  /** Ends the answer: a call whose closing tag did not come any more counts where its JSON is whole. */
  finish(): ToolPiece {
    const rest = this.#take(this.#held.length)
    const start = rest.indexOf(OPEN)
    const call = start < 0 ? undefined : parseCall(rest.slice(start + OPEN.length))
    if (call) return { text: '', calls: [call] }
    return { text: this.#hasCalls && rest.trim() === '' ? '' : rest, calls: [] }
  }

  #take(count: number): string {
    const text = this.#held.slice(0, count)
    this.#held = this.#held.slice(count)
    return text
  }
}

function parseCall(json: string): ToolCall | undefined {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch {
    return undefined
  }
  const { name, arguments: given } = (value ?? {}) as { name?: unknown; arguments?: unknown }
  if (typeof name !== 'string') return undefined
  const text = typeof given === 'string' ? given : JSON.stringify(given ?? {})
  return { id: `call_${randomBytes(12).toString('hex')}`, type: 'function', function: { name, arguments: text } }
}
