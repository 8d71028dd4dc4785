/** @file A running chat: the model with its adapters, the conversation, and how answers are made. */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Tokenizer } from '../../data/index.ts'
import { count } from '../../data/messages.ts'
import { stream } from '../../generation/index.ts'
import type { PreTrainedModel } from '../../models/index.ts'
import { PeftModel } from '../../peft/index.ts'
import { writeFileAtomic } from '../../util/files.ts'
import { didYouMean } from '../../util/nearest.ts'
import { formatCount } from '../format.ts'
import type { Output } from '../output.ts'
import { Conversation, type PromptForm } from './conversation.ts'
import type { ChatSettings } from './settings.ts'

/** What a {@link ChatSession} is made of. */
export interface ChatSessionOptions {
  model: PreTrainedModel
  tokenizer: Tokenizer
  output: Output
  form: PromptForm
  settings: ChatSettings
  /** Whether tokens are drawn where the settings do not say. */
  drawsByDefault: boolean
  seed: number
  dropOldest: boolean
  mode: 'fast' | 'small'
  threads?: number
  keepPacked?: boolean
}

/** Why an answer ended. */
type AnswerEnd = 'end' | 'stopped' | 'length' | 'context_length'

const NONE = 'none'
const REMARKS: Readonly<Record<AnswerEnd, string>> = {
  end: '',
  stopped: ', stopped',
  length: ', cut at max-new-tokens (/set max-new-tokens=… allows more)',
  context_length: ', cut where the context of the model ends',
}

/** A running chat. */
export class ChatSession {
  readonly conversation: Conversation
  settings: ChatSettings
  /** How many answers were given. */
  answers = 0
  readonly #options: ChatSessionOptions
  readonly #adapted: PeftModel<PreTrainedModel>
  #adapter: string | undefined
  /** The files that this chat wrote, which it may write again. */
  readonly #saved = new Set<string>()

  constructor(options: ChatSessionOptions) {
    this.#options = options
    this.settings = options.settings
    this.conversation = new Conversation(options.tokenizer, options.form)
    this.#adapted = new PeftModel(options.model)
  }

  /** The adapter that answers; undefined for the base model. */
  get adapter(): string | undefined {
    return this.#adapter
  }

  /** The names of the adapters. */
  get adapters(): string[] {
    return this.#adapted.adapterNames()
  }

  /** Loads an adapter; which one answers stays as it is. */
  async load(name: string, folderOrHubId: string): Promise<void> {
    if (name === NONE) throw new Error(`An adapter cannot be called "${NONE}", which means the base model here.`)
    await this.#adapted.loadAdapter(folderOrHubId, name, { onWarning: message => this.#options.output.warn(message) })
  }

  /** Lets another adapter answer from now on; `none` for the base model. */
  use(name: string): void {
    if (name === NONE) {
      this.#adapter = undefined
      return
    }
    const known = [NONE, ...this.adapters]
    if (!known.includes(name)) {
      throw new Error(
        `There is no adapter "${name}".${didYouMean(name, known)} There are ${known.join(', ')}; /load NAME FOLDER brings one.`,
      )
    }
    this.#adapted.setAdapter(name)
    this.#adapter = name
  }

  /**
   * Answers, and writes the answer while it comes. What an aborted `signal` leaves of it stays part of the conversation.
   *
   * @throws when the conversation does not fit into the model; then it is as it was
   */
  async say(user: string, signal: AbortSignal): Promise<void> {
    const { conversation } = this
    const assistant = await this.#answer(user, signal)
    if (assistant !== undefined) conversation.turns.push({ user, assistant })
  }

  /** Answers the last line again. Throws where there is none; the old answer stays when this fails. */
  async retry(signal: AbortSignal): Promise<void> {
    const old = this.conversation.undo()
    let assistant: string | undefined
    if (!this.#draws) {
      this.#options.output.note(
        'The likeliest tokens are taken, so the answer is the same; /set temperature=0.7 draws.',
      )
    }
    try {
      assistant = await this.#answer(old.user, signal)
    } finally {
      this.conversation.turns.push({ ...old, assistant: assistant ?? old.assistant })
    }
  }

  /**
   * Writes the conversation as one line of JSON, as `peft train` reads it.
   *
   * @throws when there is nothing to write, or there is a file that this chat did not write
   */
  async save(file: string): Promise<void> {
    const path = resolve(file)
    if (this.conversation.turns.length === 0) throw new Error('There is nothing to save yet.')
    if (existsSync(path) && !this.#saved.has(path)) throw new Error(`${file} exists; give another name.`)
    await writeFileAtomic(path, `${JSON.stringify({ messages: this.conversation.messages() })}\n`)
    this.#saved.add(path)
  }

  get #draws(): boolean {
    return this.settings.doSample ?? this.#options.drawsByDefault
  }

  /** The text of an answer; undefined when it was stopped before it began. */
  async #answer(user: string, signal: AbortSignal): Promise<string | undefined> {
    const { model, output, dropOldest, seed, mode, threads, keepPacked, tokenizer } = this.#options
    const answering = this.#adapter === undefined ? model : this.#adapted
    const { max_position_embeddings: limit } = model.config as { max_position_embeddings?: number }
    const virtual = this.#adapter === undefined ? 0 : this.#adapted.front().positions
    const positions = (limit ?? Number.POSITIVE_INFINITY) - virtual
    const { seed: set, maxNewTokens = 512, ...settings } = this.settings
    const prompt = this.conversation.prompt(user, { positions, answer: maxNewTokens, dropOldest }, turns =>
      output.warn(`the ${turns === 1 ? 'oldest turn is' : `${turns} oldest turns are`} not read any more: no room`),
    )
    const started = performance.now()
    let [text, newTokens] = ['', 0]
    let end: AnswerEnd = 'end'
    try {
      const pieces = stream(answering, prompt, {
        ...settings,
        doSample: this.#draws,
        // Another for each answer, so that /retry gives another one.
        ...(this.#draws && { seed: (set ?? seed) + this.answers }),
        maxNewTokens,
        mode,
        threads,
        keepPacked,
        tokenizer,
        signal,
        onToken: () => void newTokens++,
      })
      for await (const piece of pieces) {
        text += piece
        output.partial('text', { text: piece }, piece)
      }
      if (newTokens >= maxNewTokens) end = 'length'
      else if (prompt.length + newTokens > positions) end = 'context_length'
    } catch (error) {
      if (!signal.aborted) throw error
      end = 'stopped'
    }
    const seconds = (performance.now() - started) / 1000
    this.answers++
    const facts = {
      content: text,
      adapter: this.#adapter ?? null,
      prompt_tokens: prompt.length,
      new_tokens: newTokens,
      seconds,
      tokens_per_second: newTokens / seconds,
      ended: end,
    }
    output.partial('answer', facts, '\n')
    const room = Number.isFinite(positions) ? ` of ${formatCount(positions)}` : ''
    const line =
      `${count(newTokens, 'token')}, ${(newTokens / seconds).toFixed(1)} a second, ` +
      `${formatCount(prompt.length + newTokens)}${room} positions${REMARKS[end]}`
    if (!output.json) output.note(line)
    return end === 'stopped' && text === '' ? undefined : text
  }
}
