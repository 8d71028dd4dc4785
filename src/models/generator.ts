/** @file The place where generation is plugged in: what models offer as `generate` and `stream`, and who does it. */
import type { KeyValues, Module, Parameter } from '../nn/index.ts'
import type { CompileOptions, Engine, TensorData } from '../runtime/index.ts'
import type { PretrainedConfig } from './config.ts'
import type { InputSpec, ModelInputs, ModelOutput, ModelTask } from './inputs.ts'

/** One prompt, or several of any lengths: token numbers. */
export type Prompts = readonly number[] | readonly (readonly number[])[]

/** Recordings, as a model of speech takes them in the place of prompts. */
export interface Recordings {
  /** Spectrograms, float32 `[recordings, mels, frames]`; made by `WhisperFeatureExtractor`. */
  readonly input_features: TensorData
}

/** What a text is generated from: prompts, or recordings where the model hears. */
export type GenerateInputs = Prompts | Recordings

/** What turns token numbers into text: a `Tokenizer`. */
export interface TokenDecoder {
  decode(ids: Iterable<number | bigint>, options?: { skipSpecialTokens?: boolean }): string
}

/** Options of `generate`, with Transformers' names and defaults. */
export interface GenerateOptions extends Omit<CompileOptions, 'profile'> {
  /** The most tokens that are added (20). */
  maxNewTokens?: number
  /** The fewest: until then no end-of-text token is chosen (0). */
  minNewTokens?: number
  /** Draw tokens by their probability in place of the most likely one (false). */
  doSample?: boolean
  /** Divides the logits before drawing: below 1 the likely become likelier (1). */
  temperature?: number
  /** Draw among this many most likely tokens only (50); 0 for all. */
  topK?: number
  /** Draw among the most likely tokens that together have this probability (1). */
  topP?: number
  /** Divides the positive and multiplies the negative logits of tokens that occurred (1). */
  repetitionPenalty?: number
  /** Decides what is drawn; by default every call draws anew. */
  seed?: number
  /**
   * The token, or tokens, that end a text; `null` for none. By default what generation_config.json beside the model
   * says, else the configuration.
   */
  eosTokenId?: number | readonly number[] | null
  /**
   * What shorter prompts of a batch are filled with: on the left, for an encoder on the right. It is masked and has no
   * effect on the result.
   */
  padTokenId?: number
  /** What the decoder of a model with an encoder reads first; the files say it, as for `eosTokenId`. */
  decoderStartTokenId?: number
  /**
   * All that the decoder of a model with an encoder reads before it answers, its start included: such as the tokens of
   * language and task that Whisper expects. By default the start alone.
   */
  decoderInputIds?: readonly number[]
  /** The first new token of a model with an encoder, whatever it predicts; the files say it; `null` for none. */
  forcedBosTokenId?: number | null
  /** The new token at `maxNewTokens`, whatever the model predicts; the files say it; `null` for none. */
  forcedEosTokenId?: number | null
  /** A text ends when one of these appears in it; it stays part of the result. Needs `tokenizer`. */
  stopStrings?: string | readonly string[]
  /** Turns tokens into text, for `stopStrings` and `stream`. */
  tokenizer?: TokenDecoder
  /** Tokens that are never chosen; generation_config.json says it; `null` for none. */
  suppressTokens?: readonly number[] | null
  /** Tokens that are not chosen first; generation_config.json says it; `null` for none. */
  beginSuppressTokens?: readonly number[] | null
  /** Ends the generation with the signal's reason as an error; looked at between tokens. */
  signal?: AbortSignal
  /** Called with each new token and the row that it belongs to; generation waits for a promise that it returns. */
  onToken?: (token: number, row: number) => void | Promise<void>
  /**
   * The adapter of each prompt, `__base__` for the base model: all in one run, whichever adapters are active. By default
   * the active ones for all.
   */
  adapterNames?: readonly string[]
  /** What compiles and runs; by default one engine for the whole process. */
  engine?: Engine
  /** The keys and values of earlier tokens are kept in buffers that grow by this many positions (64). */
  cacheBucket?: number
}

/** Options of `stream`. */
export interface StreamOptions extends GenerateOptions {
  /** By default the tokenizer in the model's folder. */
  tokenizer?: TokenDecoder
  /** Whether special tokens are left out of the text (true). */
  skipSpecialTokens?: boolean
}

/**
 * Why a text ended: at an end-of-text token, at a stop string, at `maxNewTokens`, or at the last position that the
 * model was made for.
 */
export type FinishReason = 'eos' | 'stop_string' | 'length' | 'context_length'

/** What `generate` gives; one entry a prompt. */
export interface GenerateResult {
  /**
   * The prompts with the new tokens after them; of a model with an encoder the decoder's tokens alone, its start first.
   * Rows end where their text ended: nothing is filled up.
   */
  sequences: number[][]
  /** The new tokens alone, the end-of-text token included. */
  newTokens: number[][]
  finishReasons: FinishReason[]
}

/** What generation needs of a model. */
export interface GenerativeModel {
  readonly config: PretrainedConfig
  readonly task: ModelTask
  /** Where it was loaded from. */
  readonly nameOrPath?: string
  forward(inputs: ModelInputs): ModelOutput
  /** The inputs that it takes; needed of a model that hears. */
  inputSpecs?(): Record<string, InputSpec>
  namedParameters(): Iterable<[string, Parameter]>
  /** The model below the adapters. */
  getBaseModel?(): Module
  /** The adapters that rows name, and the input `adapter_indices` that counts them; for models with adapters. */
  adapterRows?(rows: readonly string[]): { indices: TensorData; names: readonly string[] }
  /**
   * The keys and values of what stands before every text (virtual tokens), `[1, heads, length, width]` for each layer;
   * none where there is nothing. Traced.
   */
  prelude?(): readonly KeyValues[]
}

/** Does what `generate` and `stream` of every model promise. */
export interface Generator {
  generate(model: GenerativeModel, inputs: GenerateInputs, options?: GenerateOptions): Promise<GenerateResult>
  stream(
    model: GenerativeModel,
    inputs: readonly number[] | Recordings,
    options?: StreamOptions,
  ): AsyncIterableIterator<string>
}

let registered: Generator | undefined

/** Makes `generate` and `stream` of all models work. A second registration replaces the first. */
export function registerGenerator(implementation: Generator): void {
  registered = implementation
}

/** What was registered. Throws when nothing was. */
export function generator(): Generator {
  if (registered) return registered
  throw new Error("generate: the code that generates text is not loaded; import 'peft-ts' or 'peft-ts/generation'")
}
