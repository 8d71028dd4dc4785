/** @file `SentenceTransformer`: texts as vectors, with sentence-transformers' names and files. */
import { type Encoding, padBatch, type Tokenizer } from '../data/index.ts'
import { slice, type Tensor } from '../graph/index.ts'
import { type CompiledFunction, compile, type InputSpecs, varyingParameters } from '../models/function.ts'
import type { ModelInputs, ModelOutput, PreTrainedModel } from '../models/index.ts'
import type { Parameter } from '../nn/index.ts'
import { PeftModel } from '../peft/index.ts'
import { type Engine, floats, type TensorData } from '../runtime/index.ts'
import { didYouMean } from '../util/nearest.ts'
import type { RawSettings, SentenceSettings } from './layout.ts'
import type { LoadSentenceOptions } from './load.ts'
import type { EmbeddingModule } from './modules.ts'
import type { Pooling } from './pooling.ts'
import { checkSimilarity, type SimilarityFunction, similarityMatrix } from './similarity.ts'

/** The transformer of a sentence embedding: a base model, or one with adapters. */
export type Transformer = PreTrainedModel | PeftModel<PreTrainedModel>

/** What a {@link SentenceTransformer} is made of. */
export interface SentenceTransformerParts {
  transformer: Transformer
  tokenizer: Tokenizer
  pooling: Pooling
  /** What follows pooling. */
  modules?: readonly EmbeddingModule[]
  settings?: Partial<SentenceSettings>
  raw?: RawSettings
}

/** Options of {@link SentenceTransformer.encode}. */
export interface EncodeTextsOptions {
  /** How many texts are computed at a time. Default 32. */
  batchSize?: number
  /** Make the embeddings one long, where the model does not. Default false. */
  normalizeEmbeddings?: boolean
  /** The prompt that is put in front of each text, by its name; by default the model's own default. */
  promptName?: string
  /** The prompt itself. */
  prompt?: string
  /** Keep only so many first components of each embedding, before they are normalised. */
  truncateDim?: number
  /** Called after each batch. */
  onProgress?: (done: number, total: number) => void
  signal?: AbortSignal
  engine?: Engine
  threads?: number
  mode?: 'fast' | 'small'
}

/** The inputs that embeddings are computed from. */
export interface EmbeddingInputs extends Pick<ModelInputs, 'input_ids' | 'attention_mask' | 'token_type_ids'> {
  input_ids: Tensor
  attention_mask: Tensor
  /** int64 `[1]`, how many tokens of each text are its prompt's. */
  prompt_length?: Tensor
}

/**
 * A model that makes a vector of each text: a transformer, pooling, and what follows. Adapters go on its transformer.
 *
 * @example
 * const model = await SentenceTransformer.fromPretrained('sentence-transformers/all-MiniLM-L6-v2')
 * const [a, b] = await model.encode(['A man eats.', 'Someone is having a meal.'])
 * const [[alike]] = model.similarity([a], [b])
 */
export class SentenceTransformer {
  readonly transformer: Transformer
  readonly tokenizer: Tokenizer
  readonly pooling: Pooling
  readonly modules: readonly EmbeddingModule[]
  readonly settings: SentenceSettings
  readonly #raw: RawSettings
  /** By what the engine was told. */
  readonly #compiled = new Map<string, Promise<CompiledFunction>>()

  /** @throws when the widths of the parts do not fit together */
  constructor({ transformer, tokenizer, pooling, modules = [], settings, raw }: SentenceTransformerParts) {
    const { hidden_size: width } = transformer.config
    if (pooling.embeddingDimension !== width) {
      throw new Error(`The pooling is for hidden states of width ${pooling.embeddingDimension}, the model has ${width}`)
    }
    this.transformer = transformer
    this.tokenizer = tokenizer
    this.pooling = pooling
    this.modules = modules
    this.settings = {
      prompts: {},
      defaultPromptName: null,
      similarityFnName: null,
      maxSeqLength: null,
      doLowerCase: false,
      ...settings,
    }
    this.#raw = raw ?? { sentence: {}, model: {} }
    // Told at once where the modules do not fit.
    void this.embeddingDimension
  }

  /**
   * Opens the model in a folder or of a hub id. A transformer without modules.json gets mean pooling, as
   * sentence-transformers has it, and a warning says so.
   */
  static async fromPretrained(folderOrHubId: string, options: LoadSentenceOptions = {}): Promise<SentenceTransformer> {
    const { loadSentenceTransformer } = await import('./load.ts')
    return new SentenceTransformer(await loadSentenceTransformer(folderOrHubId, options))
  }

  /** The same embedding with another transformer, such as this one's with adapters; the rest is shared. */
  withTransformer(transformer: Transformer): SentenceTransformer {
    const { tokenizer, pooling, modules, settings } = this
    return new SentenceTransformer({ transformer, tokenizer, pooling, modules, settings, raw: this.#raw })
  }

  /** The width of the embeddings. */
  get embeddingDimension(): number {
    return this.modules.reduce((width, module) => module.outputDimension(width), this.pooling.outputDimension)
  }

  /** The longest text in tokens; longer ones are cut. Infinity where nothing says it. */
  get maxSeqLength(): number {
    const { maxSeqLength } = this.settings
    const { max_position_embeddings: positions = Number.POSITIVE_INFINITY } = this.transformer.config as {
      max_position_embeddings?: number
    }
    const virtual = this.transformer instanceof PeftModel ? this.transformer.front().positions : 0
    return Math.min(maxSeqLength ?? Math.min(this.tokenizer.modelMaxLength, positions), positions - virtual)
  }

  /** How {@link SentenceTransformer.similarity} compares. */
  get similarityFnName(): SimilarityFunction {
    return checkSimilarity(this.settings.similarityFnName ?? 'cosine')
  }

  /** The inputs of {@link SentenceTransformer.embed}, with their symbolic dimensions. */
  inputSpecs(): InputSpecs {
    const tokens = { dtype: 'int64' as const, shape: ['batch', 'sequence'] }
    return {
      input_ids: tokens,
      attention_mask: tokens,
      ...('token_type_ids' in this.transformer.inputSpecs() && { token_type_ids: tokens }),
      prompt_length: { dtype: 'int64', shape: [1] },
    }
  }

  /** The embeddings of texts in a graph, for losses of one's own: `[batch, width]`. */
  embed({ prompt_length, ...inputs }: EmbeddingInputs): Tensor {
    const { last_hidden_state: hidden } = this.transformer.forward(inputs) as ModelOutput
    if (!hidden) throw new Error(`${this.transformer.constructor.name} gives no hidden states; open it with AutoModel`)
    const virtual = this.transformer instanceof PeftModel ? this.transformer.front().positions : 0
    // What adapters put in front of a text is no token of it.
    const isLonger = virtual > 0 && hidden.shape[1] !== inputs.input_ids.shape[1]
    const tokens = isLonger ? slice(hidden, 1, virtual) : hidden
    const pooled = this.pooling.forward(tokens, inputs.attention_mask, prompt_length)
    return this.modules.reduce<Tensor>((x, module) => module.forward(x), pooled)
  }

  /** The parameters outside the transformer, with their names in the list of modules (`2.linear.weight`). */
  *moduleParameters(): Generator<[string, Parameter]> {
    for (const [i, module] of this.modules.entries()) {
      for (const [name, parameter] of module.namedParameters()) yield [`${i + 2}.${name}`, parameter]
    }
  }

  /**
   * The tokens of a text behind a prompt, cut to {@link SentenceTransformer.maxSeqLength}.
   *
   * @throws where the prompt alone fills it
   */
  tokenize(text: string, prompt = ''): Encoding {
    const whole = prompt + text
    const limit = this.maxSeqLength
    const truncateTo = Number.isFinite(limit) ? limit : undefined
    return this.tokenizer.encode(this.settings.doLowerCase ? whole.toLowerCase() : whole, { truncateTo })
  }

  /**
   * The embeddings of texts, in their order. With adapters it computes with the active ones.
   *
   * @returns a vector for one text, a list for several
   * @throws for a prompt that does not exist, and options that contradict each other
   */
  encode(text: string, options?: EncodeTextsOptions): Promise<Float32Array>
  encode(texts: readonly string[], options?: EncodeTextsOptions): Promise<Float32Array[]>
  async encode(
    texts: string | readonly string[],
    options: EncodeTextsOptions = {},
  ): Promise<Float32Array | Float32Array[]> {
    const list = typeof texts === 'string' ? [texts] : texts
    const stranger = Array.isArray(list) ? list.find(text => typeof text !== 'string') : list
    if (stranger !== undefined) {
      throw new Error(
        `encode: got ${typeof stranger === 'object' ? 'an object' : stranger}, expected a text or a list of texts`,
      )
    }
    const { batchSize = 32, normalizeEmbeddings = false, truncateDim, onProgress, signal } = options
    if (!Number.isSafeInteger(batchSize) || batchSize < 1) {
      throw new Error(`encode: batchSize is ${batchSize}, expected a whole number of at least 1`)
    }
    const width = this.embeddingDimension
    const kept = truncateDim ?? width
    if (!Number.isSafeInteger(kept) || kept < 1 || kept > width) {
      throw new Error(`encode: truncateDim is ${truncateDim}, expected a whole number from 1 to ${width}`)
    }
    const prompt = this.#prompt(options)
    const encodings = list.map(text => this.tokenize(text, prompt))
    const run = await this.#function(options)
    // The longest first: texts of one length share a batch, and too little memory shows at once.
    const order = encodings.map((_, i) => i).sort((a, b) => encodings[b].inputIds.length - encodings[a].inputIds.length)
    const result: Float32Array[] = new Array(list.length)
    for (let start = 0; start < order.length; start += batchSize) {
      signal?.throwIfAborted()
      const at = order.slice(start, start + batchSize)
      const { embeddings } = await run(
        this.batch(
          at.map(i => encodings[i]),
          prompt,
        ),
        { signal },
      )
      const values = floats(embeddings)
      at.forEach((i, row) => {
        const vector = values.slice(row * width, row * width + kept)
        result[i] = normalizeEmbeddings ? normalized(vector) : vector
      })
      onProgress?.(Math.min(start + batchSize, order.length), order.length)
    }
    return typeof texts === 'string' ? result[0] : result
  }

  /** How alike each of `a` is to each of `b`: one row for each of `a`. */
  similarity(a: readonly ArrayLike<number>[], b: readonly ArrayLike<number>[]): Float32Array[] {
    return similarityMatrix(a, b, this.similarityFnName)
  }

  /**
   * Writes the model as sentence-transformers does. With adapters the transformer's files are those of the active ones
   * alone; their base is found by its name then.
   */
  async savePretrained(folder: string): Promise<void> {
    const { writeLayout } = await import('./layout.ts')
    const { pooling, modules, settings } = this
    await this.transformer.savePretrained(folder)
    await this.tokenizer.savePretrained(folder)
    await writeLayout(folder, { pooling, modules: [...modules], settings, raw: this.#raw })
  }

  /** Frees what was compiled. */
  async dispose(): Promise<void> {
    const all = [...this.#compiled.values()]
    this.#compiled.clear()
    for (const compiled of all) await (await compiled).dispose()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }

  /** The inputs of texts that were tokenised behind `prompt`. */
  batch(encodings: readonly Encoding[], prompt = ''): Record<string, TensorData> {
    const features = encodings.map(encoding => ({ ...encoding, labels: 0 }))
    const { padTokenId = 0 } = this.tokenizer
    const { labels: _, token_type_ids, ...inputs } = padBatch(features, { padTokenId })
    const takesTypes = 'token_type_ids' in this.transformer.inputSpecs()
    const excludes = !this.pooling.includePrompt && prompt !== ''
    const length = excludes ? BigInt(this.#promptLength(prompt)) : 0n
    return {
      ...inputs,
      ...(token_type_ids && takesTypes && { token_type_ids }),
      ...(excludes && { prompt_length: { dtype: 'int64', dims: [1], data: BigInt64Array.of(length) } }),
    }
  }

  /** What stands in front of the text: the tokens of the prompt, without what ends a text. */
  #promptLength(prompt: string): number {
    return this.tokenize('', prompt).inputIds.length - this.tokenizer.surroundingTokens().after.length
  }

  #prompt({ prompt, promptName }: EncodeTextsOptions): string {
    const { prompts, defaultPromptName } = this.settings
    if (prompt !== undefined && promptName !== undefined) {
      throw new Error('encode: got prompt and promptName, expected one of them')
    }
    if (prompt !== undefined) return prompt
    const name = promptName ?? defaultPromptName
    if (name === null) return ''
    if (Object.hasOwn(prompts, name)) return prompts[name]
    const known = Object.keys(prompts)
    throw new Error(
      `encode: there is no prompt "${name}".${didYouMean(name, known)} There are ${known.join(', ') || 'none'}.`,
    )
  }

  #function({ engine, threads, mode }: EncodeTextsOptions): Promise<CompiledFunction> {
    // Another engine is another compilation; there is seldom more than one.
    if (engine) return this.#compile({ engine, threads, mode })
    const key = JSON.stringify({ threads, mode })
    let compiled = this.#compiled.get(key)
    if (!compiled) {
      compiled = this.#compile({ threads, mode })
      this.#compiled.set(key, compiled)
      compiled.catch(() => this.#compiled.delete(key))
    }
    return compiled
  }

  #compile(options: Pick<EncodeTextsOptions, 'engine' | 'threads' | 'mode'>): Promise<CompiledFunction> {
    const { transformer } = this
    const own = [...this.moduleParameters()]
    return compile(transformer, (_, inputs) => ({ embeddings: this.embed(inputs as unknown as EmbeddingInputs) }), {
      ...options,
      inputs: this.inputSpecs(),
      // Those of modules are no part of the transformer, so they have to be named.
      ...(own.length > 0 && { parameters: [...varyingParameters(transformer), ...own] }),
    })
  }
}

function normalized(vector: Float32Array): Float32Array {
  const length = Math.max(Math.sqrt(vector.reduce((total, x) => total + x * x, 0)), 1e-12)
  return vector.map(x => x / length)
}
