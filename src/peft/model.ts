/** @file PeftModel: a base model with adapters. */
import { add, graphOf } from '../graph/index.ts'
import {
  type GenerateOptions,
  type GenerateResult,
  generator,
  type Prompts,
  type StreamOptions,
} from '../models/generator.ts'
import type { ModelInputs, ModelOutput } from '../models/index.ts'
import { PreTrainedModel } from '../models/index.ts'
import { Module, type Parameter } from '../nn/index.ts'
import { didYouMean } from '../util/nearest.ts'
import { canonicalSlots } from './adapted-tree.ts'
import type { PeftConfig } from './config.ts'
import { type InjectedAdapter, injectAdapter, removeShared } from './inject.ts'
import { type MergedParameter, mergeTree } from './merge.ts'
import type { ModelFacts, TargetOptions } from './method.ts'
import { ModulesToSaveWrapper } from './modules-to-save.ts'
import { formatTrainableParameters, type ParameterCounts } from './parameter-counts.ts'
import { getPeftModelStateDict } from './state-dict.ts'
import { HEAD_MODULES } from './task-type.ts'
import { type AdapterState, TunerLayer } from './tuner-layer.ts'

/** A configuration of any layer method. */
export type AnyPeftConfig = PeftConfig & TargetOptions

/** Options of {@link getPeftModel}. */
export interface GetPeftModelOptions {
  adapterName?: string
  /** Draws the adapter's first values (0). */
  seed?: number
  /** Whether an unmatched target name is an error (true); files written by others may hold such names. */
  strict?: boolean
}

/** Holds the tree with adapters, so that names begin with `base_model.model.` as in PEFT. */
class AdaptedModel extends Module {
  model: Module

  constructor(model: Module) {
    super()
    this.model = model
  }

  override forward(...inputs: unknown[]): unknown {
    return this.model.forward(...inputs)
  }
}

/**
 * A model with adapters. Its tree is a copy that shares the base's values: the base itself is never changed. Names of
 * parameters are PEFT's (`base_model.model.….lora_A.default.weight`).
 */
export class PeftModel<M extends Module = Module> extends Module {
  base_model: AdaptedModel
  readonly peftConfig: Record<string, AnyPeftConfig> = {}
  readonly adapterState: AdapterState = { active: [], disabled: false }
  /** The model that was wrapped. Not a child: its parameters are not this model's. */
  readonly #base: M
  readonly #adapters = new Map<string, InjectedAdapter>()
  /** The parameters that each adapter trains while it is active. */
  readonly #trained = new Map<string, readonly Parameter[]>()
  /** From the tree's own parameters to the base's that they began as. */
  readonly #originals: ReadonlyMap<Parameter, Parameter>

  constructor(base: M) {
    super()
    this.#base = base
    const tree = base.clone()
    const originals = base.parameters()
    this.#originals = new Map(tree.parameters().map((parameter, i) => [parameter, originals[i]]))
    for (const [, parameter] of tree.namedParameters()) parameter.requiresGrad = false
    this.base_model = new AdaptedModel(tree)
  }

  /** The base model, as it was given. */
  getBaseModel(): M {
    return this.#base
  }

  /** The module tree with the adapters in it. */
  get model(): M {
    return this.base_model.model as M
  }

  /** The base model's configuration; undefined for a module of one's own. */
  get config(): PreTrainedModel['config'] {
    return (this.#base as unknown as PreTrainedModel).config
  }

  /** What the base model is for. */
  get task(): PreTrainedModel['task'] {
    return (this.#base as unknown as PreTrainedModel).task
  }

  /** The inputs that the model takes as tensors, by name. */
  inputSpecs(): ReturnType<PreTrainedModel['inputSpecs']> {
    const base = this.#base as unknown as Partial<PreTrainedModel>
    if (typeof base.inputSpecs !== 'function') {
      throw new Error(
        `${this.#base.constructor.name} does not declare its inputs: give it a method inputSpecs(), or give the inputs to compile or valueAndGrad`,
      )
    }
    return base.inputSpecs()
  }

  // biome-ignore lint/suspicious/noExplicitAny: a module of one's own has its own signature
  override forward(inputs: ModelInputs, ...others: any[]): ModelOutput {
    const { adapterState } = this
    if (adapterState.disabled) this.#useOriginalBiases()
    const entered = this.#enter(inputs)
    const rows = entered.inputs.adapter_indices
    if (rows) adapterState.rows = { index: rows, names: this.adapterNames() }
    try {
      const output = this.base_model.forward(entered.inputs, ...others) as ModelOutput
      return withPenalties(entered.leave(output))
    } finally {
      adapterState.rows = undefined
    }
  }

  /** What the active adapters make of the inputs, and of the outputs then. */
  #enter(inputs: ModelInputs): { inputs: ModelInputs; leave(output: ModelOutput): ModelOutput } {
    const leaves: ((output: ModelOutput) => ModelOutput)[] = []
    for (const name of this.activeAdapters) {
      const adapter = this.adapter(name)
      if (!adapter.method.enter) continue
      if (inputs.adapter_indices)
        throw new Error(`${adapter.config.peftType} changes what enters the model and cannot differ from row to row`)
      const entered = adapter.method.enter(inputs, { ...adapter, graph: graphOf(Object.values(inputs)) })
      inputs = entered.inputs
      if (entered.leave) leaves.unshift(entered.leave)
    }
    return { inputs, leave: output => leaves.reduce((result, leave) => leave(result), output) }
  }

  /** With the adapters off, biases of the base that were trained with them have the base's values (PEFT leaves them). */
  #useOriginalBiases(): void {
    const graph = graphOf([])
    for (const [own, original] of this.#originals) {
      const isOwn = own.isLoaded && !(original.isLoaded && own.data === original.data)
      if (isOwn) graph.bind(own, () => original.trace(graph))
    }
  }

  /** Continues prompts token by token with the active adapters; see {@link PreTrainedModel.generate}. */
  async generate(inputs: Prompts, options?: GenerateOptions): Promise<GenerateResult> {
    return generator().generate(this, inputs, options)
  }

  /** Continues one prompt and gives the text piece by piece; see {@link PreTrainedModel.stream}. */
  stream(inputs: readonly number[], options?: StreamOptions): AsyncIterableIterator<string> {
    return generator().stream(this, inputs, options)
  }

  /** An adapter with its layers. Throws when there is none of that name. */
  adapter(adapterName: string): InjectedAdapter {
    this.configOf(adapterName)
    return this.#adapters.get(adapterName)!
  }

  /** The names of all adapters. */
  adapterNames(): string[] {
    return Object.keys(this.peftConfig)
  }

  /** The adapters that take part in the computation. */
  get activeAdapters(): readonly string[] {
    return this.adapterState.disabled ? [] : this.adapterState.active
  }

  /** The configuration of an adapter. Throws when there is none of that name. */
  configOf(adapterName: string): AnyPeftConfig {
    const config = this.peftConfig[adapterName]
    if (!config) {
      throw new Error(
        `There is no adapter "${adapterName}".${didYouMean(adapterName, this.adapterNames())} Loaded: ${this.adapterNames().join(', ') || 'none'}.`,
      )
    }
    return config
  }

  /** The paths of the modules that adapters work on, in the base model. */
  targetedModules(adapterName?: string): string[] {
    const adapters = adapterName === undefined ? [...this.#adapters.values()] : [this.#adapters.get(adapterName)]
    return [...new Set(adapters.flatMap(adapter => adapter?.targets ?? []))]
  }

  /** The paths of the token embedding and of the output layer over the vocabulary, in the base model. */
  get embeddings(): string[] {
    if (!(this.#base instanceof PreTrainedModel)) return []
    const layers = [this.#base.getInputEmbeddings(), this.#base.getOutputEmbeddings()]
    return [...this.#base.namedModules()].filter(([, module]) => layers.includes(module)).map(([path]) => path)
  }

  /** Adds an adapter with fresh values. It becomes active when it is the first. */
  addAdapter(adapterName: string, config: AnyPeftConfig, { seed = 0, strict = true }: GetPeftModelOptions = {}): void {
    if (adapterName in this.peftConfig)
      throw new Error(`There already is an adapter "${adapterName}"; delete it, or choose another name`)
    if (!/^[^.\s/\\]+$/.test(adapterName))
      throw new Error(`An adapter's name must not hold dots, slashes or spaces, got "${adapterName}"`)
    // Names of parameters hold the adapter's name as one of their parts, by which its own are told from others.
    const taken = [...this.#base.parameterSlots()].find(([path]) => path.split('.').includes(adapterName))
    if (taken)
      throw new Error(`An adapter cannot be called "${adapterName}": "${taken[0]}" of the model has that in its name`)
    const own = config.with({}) as AnyPeftConfig
    const heads = this.#headModules(own)
    own.modulesToSave = heads.length ? [...new Set([...(own.modulesToSave ?? []), ...heads])] : own.modulesToSave
    own.baseModelNameOrPath ??= (this.#base as { nameOrPath?: string }).nameOrPath ?? null
    try {
      this.#adapters.set(
        adapterName,
        injectAdapter(own, {
          adapterName,
          state: this.adapterState,
          model: this.#facts(),
          seed,
          strict,
          root: this,
          outputModules: this.#outputModules(own),
          optionalModulesToSave: heads,
        }),
      )
    } catch (cause) {
      // What was put into the tree before it failed goes again.
      this.#unwrap(adapterName)
      throw cause
    }
    this.peftConfig[adapterName] = own
    this.#train(adapterName, own)
    if (this.adapterState.active.length === 0) this.adapterState.active = [adapterName]
    this.#trainActive()
  }

  #facts(): ModelFacts {
    const { config, task } = this
    return { modelType: config?.model_type ?? 'custom', task, config, tree: this.model, base: this.#base }
  }

  /** Heads of the task, and whatever else the checkpoint lacked: trained and saved with the adapter. */
  #headModules(config: AnyPeftConfig): string[] {
    const heads = config.taskType ? [...(HEAD_MODULES[config.taskType] ?? [])] : []
    const missing = (this.#base as { missingParameters?: readonly string[] }).missingParameters ?? []
    for (const name of missing) {
      const module = name.split('.').slice(0, -1)
      if (!module.some(part => heads.includes(part))) heads.push(module.join('.'))
    }
    return heads
  }

  #outputModules({ taskType }: AnyPeftConfig): string[] {
    if (!(this.#base instanceof PreTrainedModel)) return []
    const output = this.#base.getOutputEmbeddings()
    if (output) return [...this.#base.namedModules()].filter(([, module]) => module === output).map(([path]) => path)
    const heads = HEAD_MODULES[taskType ?? 'SEQ_CLS'] ?? []
    return [...this.#base.namedModules()].map(([path]) => path).filter(path => heads.includes(path))
  }

  /** Finds what an adapter trains: its own parameters, its modules, and the biases that it asks for. */
  #train(adapterName: string, config: AnyPeftConfig): void {
    const { bias } = config as { bias?: string }
    const adapter = this.#adapters.get(adapterName)!
    const hook = adapter.method.updateHook?.(adapter)
    const targets = adapter.targets.map(path => `base_model.model.${path}.`)
    const trained: Parameter[] = []
    for (const [path, parameter] of canonicalSlots(this)) {
      const parts = path.split('.')
      if (parts.includes(adapterName)) {
        parameter.varies = true
        if (hook) parameter.hook = hook
        if (parameter.requiresGrad) trained.push(parameter)
        continue
      }
      const isBias = parts.at(-1) === 'bias' && !parts.includes('original_module')
      const isTarget = targets.some(target => path.startsWith(target))
      if (isBias && (bias === 'all' || (bias === 'lora_only' && isTarget))) trained.push(parameter)
    }
    this.#trained.set(adapterName, [...new Set(trained)])
  }

  /** Lets exactly the active adapters train, those that were not loaded for inference only. */
  #trainActive(): void {
    for (const parameters of this.#trained.values()) for (const parameter of parameters) parameter.requiresGrad = false
    for (const name of this.adapterState.active) {
      if (!this.peftConfig[name].inferenceMode) this.setRequiresGrad(name, true)
    }
  }

  /** Lets adapters train, or freezes them. A switch of adapters lets the active ones train again. */
  setRequiresGrad(adapterNames: string | readonly string[], requiresGrad = true): void {
    for (const name of [adapterNames].flat()) {
      this.configOf(name)
      for (const parameter of this.#trained.get(name) ?? []) parameter.requiresGrad = requiresGrad
    }
  }

  /** Makes one adapter, or several, the active ones. */
  setAdapter(adapterName: string | readonly string[]): void {
    const names = typeof adapterName === 'string' ? [adapterName] : [...adapterName]
    for (const name of names) this.configOf(name)
    this.adapterState.active = names
    this.#trainActive()
  }

  /** Removes an adapter; the first of those that are left becomes active where none is. */
  deleteAdapter(adapterName: string): void {
    this.configOf(adapterName)
    this.#unwrap(adapterName)
    delete this.peftConfig[adapterName]
    const left = this.adapterState.active.filter(name => name !== adapterName)
    this.adapterState.active = left.length ? left : this.adapterNames().slice(0, 1)
    this.#trainActive()
  }

  /** Takes an adapter out of the tree; a module that no adapter is left on stands there as it was. */
  #unwrap(adapterName: string): void {
    removeShared(this, adapterName, Object.keys(this.#adapters.get(adapterName)?.shared ?? {}))
    // Innermost first, so that paths stay true while wrappers go.
    for (const [path, module] of [...this.model.namedModules()].reverse()) {
      const isTuner = module instanceof TunerLayer
      if (!isTuner && !(module instanceof ModulesToSaveWrapper)) continue
      module.deleteAdapter(adapterName)
      if (module.adapterNames().length === 0)
        this.model.setSubmodule(path, isTuner ? module.base_layer : module.original_module)
    }
    this.#adapters.delete(adapterName)
    this.#trained.delete(adapterName)
  }

  /** Runs `action` with all adapters off: the model computes what the base computes. */
  async disableAdapter<T>(action: () => T | Promise<T>): Promise<T> {
    const before = this.adapterState.disabled
    this.adapterState.disabled = true
    try {
      return await action()
    } finally {
      this.adapterState.disabled = before
    }
  }

  /** The parameters of an adapter under the keys of its file. */
  stateDict(adapterName = 'default'): Map<string, Parameter> {
    return getPeftModelStateDict(this, adapterName)
  }

  /** The parameters whose values adapters hold or change: those that vary between runs. */
  adapterParameters(): [string, Parameter][] {
    const own = new Set(this.adapterNames().flatMap(name => [...this.stateDict(name).values()]))
    return [...this.namedParameters()].filter(
      ([, parameter]) => (parameter.varies || own.has(parameter)) && (parameter.isLoaded || parameter.isPending),
    )
  }

  /** How many parameters train, and how many there are. */
  getNbTrainableParameters(): ParameterCounts {
    let trainable = 0
    let all = 0
    for (const [, parameter] of this.namedParameters()) {
      all += parameter.size
      if (parameter.requiresGrad) trainable += parameter.size
    }
    return { trainable, all }
  }

  /** Prints and returns the share of parameters that train, in PEFT's words. */
  printTrainableParameters(print: (line: string) => void = console.log): string {
    const line = formatTrainableParameters(this.getNbTrainableParameters())
    print(line)
    return line
  }

  /**
   * A plain model of the base's class whose weights contain the active adapters. This model and the base stay as they
   * are.
   *
   * @param options.onReport receives the largest change of each merged parameter
   */
  async mergeAndUnload(options: { onReport?: (report: readonly MergedParameter[]) => void } = {}): Promise<M> {
    const tree = this.model.clone()
    const report = await mergeTree(tree, this.activeAdapters)
    options.onReport?.(report)
    return tree
  }

  /** Writes an adapter: `adapter_config.json`, `adapter_model.safetensors` and a model card, as PEFT does. */
  async savePretrained(folder: string, options: { selectedAdapters?: readonly string[] } = {}): Promise<void> {
    const { saveAdapters } = await import('./save.ts')
    await saveAdapters(this, folder, options.selectedAdapters ?? this.adapterNames())
  }

  /** Loads another adapter from a folder or hub id. It becomes active when it is the first. */
  async loadAdapter(folderOrHubId: string, adapterName: string, options: LoadAdapterOptions = {}): Promise<void> {
    const { loadAdapter } = await import('./load.ts')
    await loadAdapter(this, folderOrHubId, adapterName, options)
  }

  /** A base model with the adapter in a folder or of a hub id. */
  static async fromPretrained<M extends Module>(
    model: M,
    folderOrHubId: string,
    options: LoadAdapterOptions & { adapterName?: string } = {},
  ): Promise<PeftModel<M>> {
    const peft = new PeftModel(model)
    await peft.loadAdapter(folderOrHubId, options.adapterName ?? 'default', options)
    return peft
  }
}

/** The output with what layers want added to the loss, where there is a loss. */
function withPenalties(output: ModelOutput): ModelOutput {
  const { loss } = output
  return loss ? { ...output, loss: loss.graph.takeLosses().reduce((sum, part) => add(sum, part), loss) } : output
}

/** Options for loading an adapter. */
export interface LoadAdapterOptions {
  /** Whether the adapter can be trained further (false). */
  isTrainable?: boolean
  revision?: string
  /** Takes what is odd and does not prevent loading; printed by default. */
  onWarning?: (message: string) => void
}

/**
 * Puts an adapter on a model. The model itself stays as it is: the result has a tree of its own, which shares the
 * model's values.
 *
 * @example
 * const peft = getPeftModel(model, new LoraConfig({ r: 16, loraAlpha: 32, taskType: TaskType.CAUSAL_LM }))
 * peft.printTrainableParameters()
 */
export function getPeftModel<M extends Module>(
  model: M,
  config: AnyPeftConfig,
  options: GetPeftModelOptions = {},
): PeftModel<M> {
  const peft = new PeftModel(model)
  peft.addAdapter(options.adapterName ?? 'default', config, options)
  return peft
}
