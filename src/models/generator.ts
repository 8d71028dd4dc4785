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

/**
 * Options of `generate`, with Transformers' names. What is not given is what generation_config.json in the model's folder
 * says; where that is silent too, it is Transformers' default, in parentheses.
 */
export interface GenerateOptions extends Omit<CompileOptions, 'profile'> {
  /** What stands in the place of the folder's generation_config.json; `{}` for the defaults alone. */
  generationConfig?: GenerationDefaults
  /** The most tokens that are added (20). */
  maxNewTokens?: number
  /**
   * The most tokens of a row, its prompt included, behind an encoder the decoder's start. In the place of
   * `maxNewTokens`; each row counts its own.
   */
  maxLength?: number
  /** The fewest: until then no end-of-text token is chosen (0). */
  minNewTokens?: number
  /** The fewest tokens of a row, counted as for `maxLength` (0). In the place of `minNewTokens`. */
  minLength?: number
  /** Draw tokens by their probability in place of the most likely one (false). */
  doSample?: boolean
  /** Follow this many likely continuations of each prompt side by side (1). */
  numBeams?: number
  /** How many texts each prompt gets (1): several are drawn, or are the best of the beams. */
  numReturnSequences?: number
  /**
   * Of beams: end as soon as `numBeams` texts have ended (true), when it is unlikely that better ones come (false, the
   * default), or when none can come ('never').
   */
  earlyStopping?: boolean | 'never'
  /** Of beams: a text's score is its log-probability divided by its number of new tokens to this power (1). */
  lengthPenalty?: number
  /** Divides the scores before drawing: below 1 the likely become likelier (1). */
  temperature?: number
  /** Draw among this many most likely tokens only (50); 0 for all. */
  topK?: number
  /** Draw among the most likely tokens that together have this probability (1). */
  topP?: number
  /** Draw among tokens with at least this share of the most likely one's probability (0). */
  minP?: number
  /** Draw among the tokens, together this likely, that tell about as much as is to be expected (1). */
  typicalP?: number
  /** Draw among tokens with at least this probability (0 for all). */
  epsilonCutoff?: number
  /** Draw among tokens that are not unlikely, measured by how open the choice is (0 for all). */
  etaCutoff?: number
  /** Divides the positive and multiplies the negative scores of tokens that occurred, in the prompt too (1). */
  repetitionPenalty?: number
  /** Makes tokens of what the encoder read, or of the prompt where there is no encoder, likelier (1). */
  encoderRepetitionPenalty?: number
  /** Taken once from the scores of tokens that were generated, as OpenAI's interface has it (0). */
  presencePenalty?: number
  /** Taken from the scores of tokens for each time that they were generated, as OpenAI's interface has it (0). */
  frequencyPenalty?: number
  /** No sequence of so many tokens comes twice, the prompt included (0 for none). */
  noRepeatNgramSize?: number
  /** No sequence of so many tokens of what the encoder read, or of the prompt, comes again (0 for none). */
  encoderNoRepeatNgramSize?: number
  /** Sequences of tokens that do not come. */
  badWordsIds?: readonly (readonly number[])[] | null
  /** Sequences of tokens, and what is added to the score of the last of each behind the others. */
  sequenceBias?: readonly (readonly [tokens: readonly number[], bias: number])[] | null
  /** What is added to the scores of tokens, by their number, as OpenAI's interface has it. */
  logitBias?: Readonly<Record<number, number>> | null
  /** From so many new tokens on, the end becomes likelier by this factor at each step. */
  exponentialDecayLengthPenalty?: readonly [start: number, factor: number] | null
  /** Of beams: make what processors leave probabilities again (false). */
  renormalizeLogits?: boolean
  /**
   * Give the log-probability of each new token: that of the model's own prediction, before any option changes it
   * (false).
   */
  logprobs?: boolean
  /** With `logprobs`, also those of so many most likely tokens at each place (0). */
  topLogprobs?: number
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
  /** A text ends when one of these appears in it; it stays part of the result. */
  stopStrings?: string | readonly string[]
  /** Turns tokens into text, for `stopStrings` and `stream`; by default the tokenizer in the model's folder. */
  tokenizer?: TokenDecoder
  /** Tokens that are never chosen; generation_config.json says it; `null` for none. */
  suppressTokens?: readonly number[] | null
  /** Tokens that are not chosen first; generation_config.json says it; `null` for none. */
  beginSuppressTokens?: readonly number[] | null
  /** Ends the generation with the signal's reason as an error; looked at between tokens. */
  signal?: AbortSignal
  /**
   * Called with each new token and the row of the result that it belongs to; generation waits for a promise that it
   * returns. Not with beams, whose tokens are known at the end.
   */
  onToken?: (token: number, row: number, logprob?: TokenLogprob) => void | Promise<void>
  /**
   * The adapter of each prompt, `__base__` for the base model: all in one run, whichever adapters are active. By default
   * the active ones for all.
   */
  adapterNames?: readonly string[]
  /** What compiles and runs; by default one engine for the whole process. */
  engine?: Engine
  /** The keys and values of earlier tokens are kept in buffers that grow by this many positions (64). */
  cacheBucket?: number
  /** How many positions of prompts are read in one run, all prompts together (512): it limits peak memory. */
  prefillChunk?: number
}

/** The options of `generate` that generation_config.json can hold. */
export type GenerationDefaults = Omit<
  GenerateOptions,
  | keyof CompileOptions
  | 'generationConfig'
  | 'presencePenalty'
  | 'frequencyPenalty'
  | 'logitBias'
  | 'logprobs'
  | 'topLogprobs'
  | 'seed'
  | 'decoderInputIds'
  | 'tokenizer'
  | 'signal'
  | 'onToken'
  | 'adapterNames'
  | 'engine'
  | 'cacheBucket'
  | 'prefillChunk'
>

/** How likely a token was to the model. */
export interface TokenLogprob {
  token: number
  logprob: number
  /** The most likely tokens in its place, the first of them first; with `topLogprobs`. */
  topLogprobs?: readonly { token: number; logprob: number }[]
}

/** Options of `stream`. */
export interface StreamOptions extends GenerateOptions {
  /** By default the tokenizer in the model's folder. */
  tokenizer?: TokenDecoder
  /** Whether special tokens are left out of the text (true). */
  skipSpecialTokens?: boolean
  /**
   * Whether the stop string that ends a text is part of it (true). Without it text that could be its beginning is held
   * back until that is decided.
   */
  includeStopString?: boolean
}

/**
 * Why a text ended: at an end-of-text token, at a stop string, at `maxNewTokens`, or at the last position that the
 * model was made for.
 */
export type FinishReason = 'eos' | 'stop_string' | 'length' | 'context_length'

/** What `generate` gives; one entry a prompt, with `numReturnSequences` so many for each prompt in turn. */
export interface GenerateResult {
  /**
   * The prompts with the new tokens after them; of a model with an encoder the decoder's tokens alone, its start first.
   * Rows end where their text ended: nothing is filled up.
   */
  sequences: number[][]
  /** The new tokens alone, the end-of-text token included. */
  newTokens: number[][]
  finishReasons: FinishReason[]
  /** With beams: the score of each text, the best of a prompt first. */
  sequencesScores?: number[]
  /** With `logprobs`: how likely each new token was. */
  logprobs?: TokenLogprob[][]
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
  /** Whether adapters look at a whole text at once, so that prompts must not be read in pieces. */
  readsWhole?(): boolean
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
