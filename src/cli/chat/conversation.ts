/** @file A conversation with a model: its turns, and the tokens that the model reads. */
import type { ChatMessage, Tokenizer } from '../../data/index.ts'
import { count } from '../../data/messages.ts'

/** How turns become a prompt. */
export type PromptForm = { kind: 'plain' } | { kind: 'template'; chatTemplate?: string }

/** One question with its answer. */
export interface Turn {
  user: string
  assistant: string
}

/** What fits into a model. */
export interface Room {
  /** How many positions there are; Infinity where they have no end. */
  positions: number
  /** How many of them an answer may want. */
  answer: number
  /** Whether the oldest turns may be left out. */
  dropOldest: boolean
}

/** The turns so far. Nothing is forgotten: turns that do not fit any more are only not read. */
export class Conversation {
  /** What stands in front of all turns. */
  system: string | undefined
  readonly turns: Turn[] = []
  /** The first turn that the model reads. */
  #first = 0
  readonly #tokenizer: Tokenizer
  readonly #form: PromptForm

  constructor(tokenizer: Tokenizer, form: PromptForm) {
    this.#tokenizer = tokenizer
    this.#form = form
  }

  /** All turns as the messages that chat templates and data sets have. */
  messages(): ChatMessage[] {
    return [...this.#systemMessage(), ...this.turns.flatMap(messagesOf)]
  }

  /** Forgets all turns; the system's stays. */
  reset(): void {
    this.turns.length = 0
    this.#first = 0
  }

  /** Takes the last turn back. Throws where there is none. */
  undo(): Turn {
    const turn = this.turns.pop()
    if (!turn) throw new Error('There is no turn to take back yet.')
    this.#first = Math.min(this.#first, this.turns.length)
    return turn
  }

  /**
   * The tokens that the model reads before it answers `user`.
   *
   * @param onDrop takes how many turns are not read any more from now on
   * @throws when they do not fit and none may be left out
   */
  prompt(user: string, { positions, answer, dropOldest }: Room, onDrop: (turns: number) => void): number[] {
    let first = this.#first
    let tokens = this.#tokens(user, first)
    const room = Math.min(answer, Math.floor(positions / 2))
    if (dropOldest) {
      while (first < this.turns.length && tokens.length + room > positions) tokens = this.#tokens(user, ++first)
    }
    if (tokens.length >= positions) {
      const has = `The conversation has ${count(tokens.length, 'token')}, and the model takes ${positions} with the answer.`
      const alone = first === this.turns.length
      const way = alone
        ? 'This turn alone is too long (with --system, if there is one): write less.'
        : '/undo or /reset make room, and with --drop-oldest the oldest turns are left out.'
      throw new Error(`${has} ${way} This line was not taken.`)
    }
    if (first > this.#first) onDrop(first - this.#first)
    this.#first = first
    return tokens
  }

  #tokens(user: string, first: number): number[] {
    const turns = this.turns.slice(first)
    if (this.#form.kind === 'template') {
      const { chatTemplate } = this.#form
      const messages = [...this.#systemMessage(), ...turns.flatMap(messagesOf), { role: 'user', content: user }]
      return this.#tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true, chatTemplate })
    }
    const { before } = this.#tokenizer.surroundingTokens()
    const lines = [...(this.system ? [this.system] : []), ...turns.map(turn => turn.user + turn.assistant), user]
    return [...before, ...this.#tokenizer.encode(lines.join('\n'), { addSpecialTokens: false }).inputIds]
  }

  #systemMessage(): ChatMessage[] {
    return this.system ? [{ role: 'system', content: this.system }] : []
  }
}

function messagesOf({ user, assistant }: Turn): ChatMessage[] {
  return [
    { role: 'user', content: user },
    { role: 'assistant', content: assistant },
  ]
}
