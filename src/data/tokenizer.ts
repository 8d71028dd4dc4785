/** @file `Tokenizer` and `AutoTokenizer`: text to token numbers and back, from the files of a Hugging Face checkpoint. */
import { Tokenizer as Backend } from '@huggingface/tokenizers'
import { didYouMean } from '../util/nearest.ts'
import { type ChatMessage, ChatTemplate, type ChatVariables, type RenderedChat } from './chat-template.ts'
import { list } from './messages.ts'
import { type JsonObject, readTokenizerFolder, type TokenizerFiles, tokenizerSettings } from './tokenizer-files.ts'

/** What a text becomes. */
export interface Encoding {
  inputIds: number[]
  /** 1 for each token: padding is added by the collator. */
  attentionMask: number[]
  /** 0 for the first text, 1 for the second; absent where the tokenizer has no such notion. */
  tokenTypeIds?: number[]
}

/** Options of {@link Tokenizer.encode}. */
export interface EncodeOptions {
  /** Second text, for tasks on pairs. */
  pair?: string
  /** Add what the tokenizer puts around a text ([CLS], [SEP], a beginning-of-text token). Default true. */
  addSpecialTokens?: boolean
  /**
   * Cut the encoding to this many tokens, special tokens included, which stay in place. Of a pair the longer text is cut
   * first. The side is the tokenizer's `truncation_side`. Default: nothing is cut.
   */
  truncateTo?: number
}

/** Options of {@link Tokenizer.decode}. */
export interface DecodeOptions {
  /** Leave out special tokens. Default false. */
  skipSpecialTokens?: boolean
}

/** Options of {@link Tokenizer.applyChatTemplate}. */
export interface ChatTemplateOptions extends ChatVariables {
  /** Return token numbers (true, the default) or the text. */
  tokenize?: boolean
  /** Return the tokens as the model takes them, in an object. Default false. */
  returnDict?: boolean
  /** With `returnDict`: tell which tokens the template says are the assistant's, by `{% generation %}`. Default false. */
  returnAssistantTokensMask?: boolean
  /** A template other than the tokenizer's own, or the name of one of its several. */
  chatTemplate?: string
}

/** A conversation as tokens. */
export interface ChatEncoding {
  inputIds: number[]
  attentionMask: number[]
  /** 1 for each token that the assistant wrote; a token that reaches across an end of what it wrote counts. */
  assistantMasks?: number[]
}

/** The chat template and its further names, as Transformers keeps them. */
type ChatTemplates = ReadonlyMap<string, string>

/** A tokenizer with the settings of `tokenizer_config.json`. Make one with {@link AutoTokenizer.fromPretrained}. */
export class Tokenizer {
  /** The folder's last name, for messages. */
  readonly name: string
  /** Longest input the model takes, in tokens; Infinity where the files do not say. */
  readonly modelMaxLength: number
  readonly bosToken: string | undefined
  readonly eosToken: string | undefined
  readonly unkToken: string | undefined
  readonly clsToken: string | undefined
  readonly sepToken: string | undefined
  readonly maskToken: string | undefined
  /**
   * The token batches are filled with. Where the files name none it is the end-of-text token, as is usual for causal
   * models; padding is masked in attention and labels, so the choice has no effect on training.
   */
  readonly padToken: string | undefined
  /** The model inputs the tokenizer makes, where its configuration tells: `token_type_ids` is made unless left out. */
  readonly modelInputNames: readonly string[] | undefined

  readonly #backend: Backend
  readonly #files: TokenizerFiles
  readonly #templates: ChatTemplates
  readonly #compiled = new Map<string, ChatTemplate>()
  /** The special tokens that the files name, by the names that templates know them by. */
  readonly #templateTokens: Readonly<Record<string, string>>
  readonly #truncateLeft: boolean
  readonly #cleanUp: boolean

  /**
   * @param name a name for messages.
   * @param files the folder's files, by name; `tokenizer.json` is needed, the others are optional.
   */
  constructor(name: string, files: TokenizerFiles) {
    const { definition, config, specialTokens, templateTokens, templates } = tokenizerSettings(name, files)
    this.name = name
    this.#files = files
    this.#templates = templates
    this.#templateTokens = templateTokens
    try {
      this.#backend = new Backend(definition, config)
    } catch (cause) {
      throw new Error(`Could not build the tokenizer of ${name}: ${(cause as Error).message}`, { cause })
    }
    const maximum = config.model_max_length
    // Transformers writes 1e30 for "unknown".
    this.modelMaxLength = typeof maximum === 'number' && maximum < 1e15 ? maximum : Number.POSITIVE_INFINITY
    this.bosToken = specialTokens.bos_token
    this.eosToken = specialTokens.eos_token
    this.unkToken = specialTokens.unk_token
    this.clsToken = specialTokens.cls_token
    this.sepToken = specialTokens.sep_token
    this.maskToken = specialTokens.mask_token
    this.padToken = specialTokens.pad_token ?? specialTokens.eos_token
    this.modelInputNames = modelInputNames(config)
    this.#truncateLeft = config.truncation_side === 'left'
    // Transformers leaves byte-pair text as it is whatever the setting, since cleaning would corrupt it.
    this.#cleanUp = config.clean_up_tokenization_spaces === true && (definition.model as JsonObject)?.type !== 'BPE'
  }

  get bosTokenId(): number | undefined {
    return this.#idOf(this.bosToken)
  }
  get eosTokenId(): number | undefined {
    return this.#idOf(this.eosToken)
  }
  get unkTokenId(): number | undefined {
    return this.#idOf(this.unkToken)
  }
  get clsTokenId(): number | undefined {
    return this.#idOf(this.clsToken)
  }
  get sepTokenId(): number | undefined {
    return this.#idOf(this.sepToken)
  }
  get maskTokenId(): number | undefined {
    return this.#idOf(this.maskToken)
  }
  /** The number of {@link Tokenizer.padToken}; undefined only where the tokenizer has no end-of-text token either. */
  get padTokenId(): number | undefined {
    return this.#idOf(this.padToken)
  }

  /** Number of tokens, added ones included (Python's `len(tokenizer)`). */
  get vocabSize(): number {
    return this.#backend.get_vocab(true).size
  }

  /** The chat template in use without tools, or undefined. */
  get chatTemplate(): string | undefined {
    return this.#templates.get('default')
  }

  /** The number of a token, or undefined for one the vocabulary lacks. */
  tokenToId(token: string): number | undefined {
    return this.#backend.token_to_id(token)
  }

  /** The token with number `id`, or undefined. */
  idToToken(id: number): string | undefined {
    return this.#backend.id_to_token(id)
  }

  /** Turns a text, or a pair of texts, into token numbers. Nothing is cut unless `truncateTo` is given. */
  encode(text: string, options: EncodeOptions = {}): Encoding {
    const { pair, addSpecialTokens = true, truncateTo } = options
    if (typeof text !== 'string') throw new TypeError(`Could not encode ${typeof text}: expected a string.`)
    let first = this.#tokens(text)
    let second = pair === undefined ? null : this.#tokens(pair)
    let whole = this.#surround(first, second, addSpecialTokens)
    if (truncateTo !== undefined && whole.tokens.length > truncateTo) {
      const budget = truncateTo - (whole.tokens.length - first.length - (second?.length ?? 0))
      if (budget < 1) {
        throw new Error(`Could not cut an encoding to ${truncateTo} tokens: the special tokens alone fill it.`)
      }
      const [keepFirst, keepSecond] = second ? longestFirst(first.length, second.length, budget) : [budget, 0]
      first = this.#cut(first, keepFirst)
      second = second && this.#cut(second, keepSecond)
      whole = this.#surround(first, second, addSpecialTokens)
    }
    const inputIds = whole.tokens.map(token => this.#knownId(token))
    const encoding: Encoding = { inputIds, attentionMask: new Array(inputIds.length).fill(1) }
    const wantsTypes = this.modelInputNames?.includes('token_type_ids') ?? true
    if (whole.types && wantsTypes) encoding.tokenTypeIds = whole.types
    return encoding
  }

  /** Turns token numbers into text. Throws for a number outside the vocabulary. */
  decode(ids: Iterable<number | bigint>, options: DecodeOptions = {}): string {
    const numbers = Array.from(ids, Number)
    for (const id of numbers) {
      if (this.#backend.id_to_token(id) === undefined) {
        throw new RangeError(`Could not decode token ${id}: ${this.name} has ${this.vocabSize} tokens.`)
      }
    }
    if (numbers.length === 0) return ''
    return this.#backend.decode(numbers, {
      skip_special_tokens: options.skipSpecialTokens ?? false,
      clean_up_tokenization_spaces: this.#cleanUp,
    })
  }

  /**
   * What the tokenizer puts before and after a single text: a beginning-of-text token, [CLS] and [SEP], or nothing.
   */
  surroundingTokens(): { before: number[]; after: number[] } {
    const marker = this.#tokens('a')
    const { tokens } = this.#surround(marker, null, true)
    const start = tokens.findIndex((_, i) => marker.every((token, j) => tokens[i + j] === token))
    const ids = tokens.map(token => this.#knownId(token))
    return { before: ids.slice(0, start), after: ids.slice(start + marker.length) }
  }

  /**
   * Writes a conversation as the model's chat template does. The template brings its own special tokens, so none are
   * added around the result. Of several templates, `tool_use` is taken when tools are given, else `default`.
   *
   * @returns the tokens; with `tokenize: false` the text, with `returnDict` an object
   * @throws when there is no template, it refuses the conversation, or options contradict each other
   * @example
   * const ids = tokenizer.applyChatTemplate([{ role: 'user', content: 'Hi' }], { addGenerationPrompt: true })
   */
  applyChatTemplate(messages: readonly ChatMessage[], options: ChatTemplateOptions & { tokenize: false }): string
  applyChatTemplate(messages: readonly ChatMessage[], options: ChatTemplateOptions & { returnDict: true }): ChatEncoding
  applyChatTemplate(
    messages: readonly ChatMessage[],
    options?: ChatTemplateOptions & { tokenize?: true; returnDict?: false },
  ): number[]
  applyChatTemplate(
    messages: readonly ChatMessage[],
    options: ChatTemplateOptions = {},
  ): number[] | string | ChatEncoding {
    const { tokenize = true, returnDict = false, returnAssistantTokensMask = false } = options
    if (returnAssistantTokensMask && !(tokenize && returnDict)) {
      throw new Error('returnAssistantTokensMask belongs to returnDict: true, where the mask has its place.')
    }
    if (returnAssistantTokensMask && options.continueFinalMessage) {
      throw new Error('returnAssistantTokensMask and continueFinalMessage do not go together; give one of them.')
    }
    const template = this.#template(options)
    if (!returnAssistantTokensMask) {
      const text = template.render(messages, options, this.#templateTokens)
      if (!tokenize) return text
      const { inputIds, attentionMask } = this.encode(text, { addSpecialTokens: false })
      return returnDict ? { inputIds, attentionMask } : inputIds
    }
    if (!template.marksGeneration) {
      throw new Error(
        `The chat template of ${this.name} has no {% generation %} blocks, so it does not say what the assistant writes; ` +
          'leave out returnAssistantTokensMask, or give a chatTemplate with such blocks.',
      )
    }
    const { text, assistantSpans } = template.renderMarked(messages, options, this.#templateTokens)
    const { inputIds, attentionMask } = this.encode(text, { addSpecialTokens: false })
    return { inputIds, attentionMask, assistantMasks: this.#maskOf(text, inputIds, assistantSpans) }
  }

  /** A conversation as text, and where in it the template says that the assistant writes. */
  renderChat(messages: readonly ChatMessage[], options: ChatVariables & { chatTemplate?: string } = {}): RenderedChat {
    return this.#template(options).renderMarked(messages, options, this.#templateTokens)
  }

  /** Whether the template that would be used says what the assistant writes, with `{% generation %}` blocks. */
  marksGeneration(options: Pick<ChatTemplateOptions, 'chatTemplate' | 'tools'> = {}): boolean {
    return this.#template(options).marksGeneration
  }

  #template(options: Pick<ChatTemplateOptions, 'chatTemplate' | 'tools'>): ChatTemplate {
    const source = this.templateSource(options)
    let template = this.#compiled.get(source)
    if (!template) this.#compiled.set(source, (template = new ChatTemplate(this.name, source)))
    return template
  }

  /** 1 for the tokens of stretches of a text. */
  #maskOf(text: string, ids: readonly number[], spans: readonly (readonly [number, number])[]): number[] {
    const before = (end: number) => {
      const part = this.encode(text.slice(0, end), { addSpecialTokens: false }).inputIds
      const differs = part.findIndex((id, i) => id !== ids[i])
      return differs < 0 ? { count: part.length, cuts: false } : { count: differs, cuts: true }
    }
    const mask: number[] = new Array(ids.length).fill(0)
    for (const [start, end] of spans) {
      if (start === end) continue
      const last = before(end)
      mask.fill(1, before(start).count, last.count + (last.cuts ? 1 : 0))
    }
    return mask
  }

  /** The text of the template that {@link Tokenizer.applyChatTemplate} would use. Throws where there is none. */
  templateSource(options: Pick<ChatTemplateOptions, 'chatTemplate' | 'tools'> = {}): string {
    const { chatTemplate, tools } = options
    if (chatTemplate !== undefined) {
      const named = this.#templates.get(chatTemplate)
      if (named !== undefined) return named
      if (chatTemplate.includes('{')) return chatTemplate
      throw new Error(
        `${this.name} has no chat template "${chatTemplate}".${didYouMean(chatTemplate, this.#templates.keys())} ` +
          `It has ${list(this.#templates.keys())}; a template given as text contains {{ or {%.`,
      )
    }
    const source = (tools ? this.#templates.get('tool_use') : undefined) ?? this.#templates.get('default')
    if (source !== undefined) return source
    const others = this.#templates.size ? ` It has ${list(this.#templates.keys())}: name one with chatTemplate.` : ''
    throw new Error(
      `${this.name} has no chat template (chat_template in tokenizer_config.json, or chat_template.jinja).${others} ` +
        `Use a tokenizer of a chat model, give the option chatTemplate, or write prompts as plain text.`,
    )
  }

  /** Writes the files the tokenizer was read from into `folder`, byte for byte. Node only. */
  async savePretrained(folder: string): Promise<void> {
    const { writeFileAtomic } = await import('../util/files.ts')
    const { join } = await import('node:path')
    for (const [name, bytes] of this.#files) await writeFileAtomic(join(folder, ...name.split('/')), bytes)
  }

  #tokens(text: string): string[] {
    return this.#backend.tokenize(text, { add_special_tokens: false })
  }

  #surround(first: string[], second: string[] | null, addSpecialTokens: boolean) {
    const process = this.#backend.post_processor
    if (!process) return { tokens: second ? [...first, ...second] : first, types: undefined }
    const { tokens, tokens_pair, token_type_ids } = process(first, second, addSpecialTokens)
    // Some post-processors (byte level) hand the pair back apart.
    return { tokens: tokens_pair ? [...tokens, ...tokens_pair] : tokens, types: token_type_ids }
  }

  #cut(tokens: string[], length: number): string[] {
    return this.#truncateLeft ? tokens.slice(tokens.length - length) : tokens.slice(0, length)
  }

  #knownId(token: string): number {
    const id = this.#backend.token_to_id(token) ?? this.#backend.model?.unk_token_id
    if (id !== undefined) return id
    throw new Error(
      `Could not encode ${JSON.stringify(token)}: it is not in the vocabulary of ${this.name}, which has no unknown token.`,
    )
  }

  #idOf(token: string | undefined): number | undefined {
    return token === undefined ? undefined : this.#backend.token_to_id(token)
  }
}

/** The class that Transformers 5 writes for a bare tokenizer.json makes no token types; older ones do. */
function modelInputNames(config: JsonObject): string[] | undefined {
  if (Array.isArray(config.model_input_names)) return config.model_input_names as string[]
  return config.tokenizer_class === 'TokenizersBackend' ? ['input_ids', 'attention_mask'] : undefined
}

/** How many tokens of each text of a pair stay: the shorter is kept whole while it fits in half (as Transformers does). */
function longestFirst(first: number, second: number, budget: number): [number, number] {
  const swapped = first > second
  const shorter = swapped ? second : first
  let keepShorter = shorter
  let keepLonger = Math.max(shorter, budget - shorter)
  if (keepShorter + keepLonger > budget) {
    keepShorter = Math.floor(budget / 2)
    keepLonger = budget - keepShorter
  }
  return swapped ? [keepLonger, keepShorter] : [keepShorter, keepLonger]
}

/** Finds a tokenizer by its folder. */
export const AutoTokenizer = {
  /**
   * Reads a tokenizer from a local checkpoint folder: `tokenizer.json`, and where present `tokenizer_config.json`,
   * `special_tokens_map.json` and `chat_template.jinja`. Node only. Errors name the folder and the missing or broken file.
   */
  async fromPretrained(folder: string): Promise<Tokenizer> {
    const { basename, resolve } = await import('node:path')
    return new Tokenizer(basename(resolve(folder)), await readTokenizerFolder(folder))
  },
}
