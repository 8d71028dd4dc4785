/** @file The base of all models: configuration, inputs and outputs, and loading and saving in Transformers' layout. */
import { Module, type Parameter } from '../nn/index.ts'
import {
  type AdapterConfig,
  type AddAdapterOptions,
  adapterSupport,
  carriesAdapters,
  type LoadModelAdapterOptions,
} from './adapters.ts'
import type { PretrainedConfig } from './config.ts'
import {
  type GenerateInputs,
  type GenerateOptions,
  type GenerateResult,
  generator,
  type Recordings,
  type StreamOptions,
} from './generator.ts'
import type { ResolveOptions } from './hub.ts'
import type { InputSpec, ModelInputs, ModelOutput, ModelTask } from './inputs.ts'
import type { QuantizingOptions } from './quantize.ts'

/** Options of `fromPretrained`. */
export interface FromPretrainedOptions extends Omit<ResolveOptions, 'allowPatterns'>, QuantizingOptions {
  /** The configuration to build from; by default the config.json beside the weights. */
  config?: PretrainedConfig
  /** The number of classes of a classifier; by default what the configuration says. */
  numLabels?: number
  /** The names of the classes. */
  id2label?: Readonly<Record<number, string>> | readonly string[]
  label2id?: Readonly<Record<string, number>>
  /** Draws the parameters that the checkpoint lacks; 0 by default. */
  seed?: number
  /** Whether parameters of another shape than the checkpoint's are drawn anew instead of refused. */
  ignoreMismatchedSizes?: boolean
  /** Where float32 and quantised copies of checkpoints are kept; see `convertedToFloat32`. */
  conversionCacheDir?: string
  /** Takes what is odd and does not prevent loading, one sentence each; by default printed, each once. */
  onWarning?: (message: string) => void
}

/** The place of a tensor in a parameter that holds several, one behind the other. */
export interface TensorPart {
  /** The parameter's name. */
  name: string
  /** The position, counted from 0. */
  index: number
}

/** A class of models, as `fromPretrained` and the registry need it. */
export interface ModelClass<T extends PreTrainedModel = PreTrainedModel> {
  readonly name: string
  /** The `model_type` of the configurations that it takes. */
  readonly modelType: string
  // biome-ignore lint/suspicious/noExplicitAny: each class takes its own configuration
  new (config: any): T
  fromConfig<M extends PreTrainedModel>(this: ModelClass<M>, config: PretrainedConfig): M
  fromPretrained<M extends PreTrainedModel>(
    this: ModelClass<M>,
    folderOrHubId: string,
    options?: FromPretrainedOptions,
  ): Promise<M>
}

/** What the configuration of every model says. */
export interface ModelConfig extends PretrainedConfig {
  readonly hidden_size: number
  readonly initializer_range: number
}

/** A configuration of a model of text. */
export interface TextConfig extends ModelConfig {
  readonly vocab_size: number
}

/**
 * A model with a configuration and named parameters, built by `fromConfig` (shapes only, no memory for values) or
 * `fromPretrained`. Subclasses build their tree in the constructor, with Transformers' names of modules in memory.
 */
export abstract class PreTrainedModel<C extends ModelConfig = ModelConfig> extends Module {
  /** The `model_type` of the configurations that this class takes. */
  static readonly modelType: string = ''

  readonly config: C
  /** Where it was loaded from: the folder or hub id as it was given. An adapter's file names it as its base. */
  nameOrPath: string | undefined
  /** The parameters that the checkpoint lacked; they were drawn from the seed. */
  missingParameters: readonly string[] = []
  /** The tensors of the checkpoint that the model has no place for. */
  unexpectedParameters: readonly string[] = []

  constructor(config: C) {
    super()
    this.config = config
  }

  /** Traces the computation. */
  abstract override forward(inputs: ModelInputs): ModelOutput
  /** What the model is for. */
  abstract get task(): ModelTask
  /** The property that holds the base model in models with a head: `bert`, `model`, `transformer`. */
  abstract get baseModelPrefix(): string
  /** The layer that embeds tokens. */
  abstract getInputEmbeddings(): Module
  /** Tensors of checkpoints that are computed here and never read. */
  abstract get ignoredTensors(): readonly RegExp[]

  /** The layer that gives logits over the vocabulary, where there is one. */
  getOutputEmbeddings(): Module | undefined {
    return undefined
  }

  /** The model without its head; a base model is its own. */
  get baseModel(): PreTrainedModel {
    const inner = (this as Record<string, unknown>)[this.baseModelPrefix]
    return inner instanceof PreTrainedModel ? inner : this
  }

  /** The number of elements of all parameters, tied ones counted once. */
  numParameters(): number {
    return this.parameters().reduce((total, parameter) => total + parameter.size, 0)
  }

  /** Whether it holds weights in packed form, which never train. */
  get isQuantized(): boolean {
    return this.parameters().some(parameter => parameter.quantized !== undefined)
  }

  /** The bytes that all values take: packed ones as packed, others 4 each. Transformers' `get_memory_footprint`. */
  getMemoryFootprint(): number {
    const bytes = ([, { quantized, size }]: [string, Parameter]) => quantized?.byteLength ?? 4 * size
    return [...this.namedTensors()].reduce((total, entry) => total + bytes(entry), 0)
  }

  /** The name that a tensor of a checkpoint, or a key that contains its name, has in this tree. */
  currentName(name: string): string {
    return this.baseModel === this ? name : this.baseModel.currentName(name)
  }

  /**
   * The name that Transformers writes into checkpoints for a parameter or module; what {@link currentName} gives for it
   * is `name` again.
   */
  checkpointName(name: string): string {
    return this.baseModel === this ? name : this.baseModel.checkpointName(name)
  }

  /** Where a tensor of a checkpoint belongs when its parameter holds several; `name` is its current one. */
  partOf(name: string): TensorPart | undefined {
    return this.baseModel === this ? undefined : this.baseModel.partOf(name)
  }

  /**
   * The names of the tensors that Transformers writes in the place of one parameter, one behind the other; undefined for
   * most, which are one tensor. `name` is the parameter's, `shape` its shape.
   */
  partsOf(name: string, shape: readonly number[]): readonly string[] | undefined {
    return this.baseModel === this ? undefined : this.baseModel.partsOf(name, shape)
  }

  /** The inputs that the model takes as tensors, by name. */
  inputSpecs(): Record<string, InputSpec> {
    const tokens: InputSpec = { dtype: 'int64', shape: ['batch', 'sequence'] }
    const specs: Record<string, InputSpec> = {
      input_ids: tokens,
      inputs_embeds: { dtype: 'float32', shape: ['batch', 'sequence', this.config.hidden_size], optional: true },
      attention_mask: { ...tokens, optional: true },
      position_ids: { ...tokens, optional: true },
    }
    return { ...specs, ...labelSpecs(this.task) }
  }

  /**
   * Builds the tree without values, which is enough to count and to trace.
   *
   * @throws when the configuration is of another architecture
   */
  static fromConfig<T extends PreTrainedModel>(this: ModelClass<T>, config: PretrainedConfig): T {
    if (config.model_type !== this.modelType) {
      throw new Error(
        `${this.name}: ${config.label} has model_type "${config.model_type}", expected "${this.modelType}". ` +
          'Use the class of that architecture, or one of AutoModel, AutoModelForSequenceClassification, AutoModelForCausalLM.',
      )
    }
    const model = new this(config)
    // Enumerating names them.
    model.parameters()
    return model
  }

  /**
   * Builds the model in a folder or of a hub id. Values stay in their files until they are needed; parameters that the
   * checkpoint lacks are drawn from the seed, as Transformers draws them.
   *
   * @throws when a tensor has another shape than its parameter, or none of the tensors fits
   */
  static async fromPretrained<T extends PreTrainedModel>(
    this: ModelClass<T>,
    folderOrHubId: string,
    options: FromPretrainedOptions = {},
  ): Promise<T> {
    // Loaded here and not above, so that a browser can build models without Node's modules.
    const { loadPretrained } = await import('./load.ts')
    return loadPretrained(this, folderOrHubId, options)
  }

  /**
   * Continues prompts token by token: greedily, or by drawing with `doSample`.
   *
   * @param inputs the tokens of one prompt, or of several of any lengths; recordings for a model that hears
   * @throws when the model does not predict tokens, or a prompt or option does not fit
   * @example
   * const { newTokens } = await model.generate(tokenizer.encode('Once upon a time').inputIds, { maxNewTokens: 50 })
   */
  async generate(inputs: GenerateInputs, options?: GenerateOptions): Promise<GenerateResult> {
    return generator().generate(this, inputs, options)
  }

  /**
   * Continues one prompt and gives the text piece by piece.
   *
   * @example
   * for await (const piece of model.stream(ids, { tokenizer, maxNewTokens: 80 })) process.stdout.write(piece)
   */
  stream(inputs: readonly number[] | Recordings, options?: StreamOptions): AsyncIterableIterator<string> {
    return generator().stream(this, inputs, options)
  }

  /**
   * Puts a new adapter into this model itself, in place, and makes it the active one: from then on it computes with it,
   * and only it trains. The values of the model stay as they are. The heads of the adapter's task, and what the
   * checkpoint lacked, are trained and saved with it.
   *
   * @param config of a method that changes layers; those that change what enters the model need `getPeftModel`
   * @throws when the name is taken or not fit, or the options do not suit the model
   * @example
   * model.addAdapter(new LoraConfig({ r: 8, targetModules: ['query', 'value'] }), 'legal')
   */
  addAdapter(config: AdapterConfig, adapterName = 'default', options: AddAdapterOptions = {}): void {
    adapterSupport().add(this, config, adapterName, options)
  }

  /**
   * Puts the adapter in a folder or of a hub id into this model itself, in place, and makes it the active one. When
   * loading fails, the model is as it was.
   *
   * @throws when there is no adapter, it does not fit, or the name is taken
   */
  async loadAdapter(
    folderOrHubId: string,
    adapterName = 'default',
    options: LoadModelAdapterOptions = {},
  ): Promise<void> {
    await adapterSupport().load(this, folderOrHubId, adapterName, options)
  }

  /** Makes one adapter, or several, the active ones. It does not end what `disableAdapters` began. */
  setAdapter(adapterName: string | readonly string[]): void {
    adapterSupport().set(this, [adapterName].flat())
  }

  /** Turns all adapters off: the model computes what it computed without them. */
  disableAdapters(): void {
    adapterSupport().setEnabled(this, false)
  }

  /** Turns the active adapters on again. */
  enableAdapters(): void {
    adapterSupport().setEnabled(this, true)
  }

  /** The names of the active adapters, also while they are turned off. Throws when the model carries none. */
  activeAdapters(): string[] {
    return adapterSupport().active(this)
  }

  /** Takes adapters out of the model. Throws, before any is taken out, when there is none of a name. */
  deleteAdapter(adapterNames: string | readonly string[]): void {
    adapterSupport().delete(this, [adapterNames].flat())
  }

  /**
   * The parameters of an adapter under their names in this model, without the adapter's name, as Transformers gives them
   * (`model.layers.0.self_attn.q_proj.lora_A.weight`).
   *
   * @param adapterName by default the first of the active ones
   */
  getAdapterStateDict(adapterName?: string): Map<string, Parameter> {
    return adapterSupport().stateDict(this, adapterName)
  }

  /**
   * Writes config.json and model.safetensors as Transformers does, tied parameters once, in float32: quantised weights
   * are dequantised. A model that carries adapters
   * writes the active one alone, in PEFT's files; several active ones into folders of their names.
   */
  async savePretrained(folder: string): Promise<void> {
    if (carriesAdapters(this)) return adapterSupport().save(this, folder)
    const { savePretrained } = await import('./save.ts')
    await savePretrained(this, folder)
  }
}

/** The inputs that a loss is computed from. */
export function labelSpecs(task: ModelTask): Record<string, InputSpec> {
  const one: InputSpec = { dtype: 'int64', shape: ['batch'], optional: true }
  switch (task) {
    case 'SEQ_CLS':
    case 'IMAGE_CLS':
      return { labels: one }
    case 'CAUSAL_LM':
    case 'MASKED_LM':
    case 'TOKEN_CLS':
      return { labels: { ...one, shape: ['batch', 'sequence'] } }
    case 'QUESTION_ANS':
      return { start_positions: one, end_positions: one }
    default:
      return {}
  }
}
