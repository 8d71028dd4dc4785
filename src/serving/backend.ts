/** @file What the HTTP side needs of a model: tokens for prompts, and how busy it is. */
import type { Tokenizer } from '../data/index.ts'
import type { FinishReason, TokenLogprob } from '../models/generator.ts'

/** How the tokens of one row are chosen. */
export interface RowSettings {
  maxNewTokens: number
  /** 0 takes the most likely token. */
  temperature: number
  topP: number
  /** 0 for all tokens. */
  topK: number
  minP: number
  repetitionPenalty: number
  presencePenalty: number
  frequencyPenalty: number
  /** What is added to the logits of tokens. */
  logitBias: ReadonlyMap<number, number>
  seed: number
  /** Texts that end the answer. */
  stop: readonly string[]
  /** How many alternatives of each token are told with their log-probabilities; undefined for no log-probabilities. */
  logprobs?: number
}

/** One text that is asked for. */
export interface RowRequest {
  /** The id of a served model. */
  model: string
  prompt: readonly number[]
  settings: RowSettings
  /** Which of the several answers to the same prompt this is: each draws its own. */
  choice: number
}

/** A new token of one row of those that were asked for together. */
export interface RowEvent {
  /** The row's number in the request. */
  row: number
  token: number
  finished?: FinishReason
  /** Where they were asked for. */
  logprob?: TokenLogprob
}

/** A model that requests can name. */
export interface ServedModel {
  id: string
  /** The id of the model below an adapter; null for the base. */
  parent: string | null
  /** When it was opened, in seconds. */
  created: number
  /** The positions that prompt and answer have together; Infinity where the model does not say. */
  contextLength: number
}

/** How busy a backend is. */
export interface Load {
  /** Rows that are computed now. */
  active: number
  /** Rows that wait. */
  queued: number
  maxBatch: number
  maxQueue: number
}

/** What answers. */
export interface TextBackend {
  /** The base first. */
  readonly models: readonly ServedModel[]
  readonly tokenizer: Tokenizer
  readonly load: Load
  /** How many tokens the model knows. */
  readonly vocabSize: number
  /** How many characters the longest token has. */
  readonly longestToken: number
  /** What the model's authors recommend, where they say so. */
  readonly defaults: Partial<RowSettings>
  /**
   * Queues rows, all or none; their tokens come as they are chosen. Leaving the loop, or the signal, frees their places.
   *
   * @throws ApiError 429 when the queue is full, 503 when the server is closing
   */
  submit(rows: readonly RowRequest[], signal?: AbortSignal): AsyncIterableIterator<RowEvent>
}
