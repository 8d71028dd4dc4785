/** @file PeftModel: a base model with adapters. */
import { add, concat, graphOf, Tensor } from '../graph/index.ts'
import {
  type GenerateInputs,
  type GenerateOptions,
  type GenerateResult,
  generator,
  type Recordings,
  type StreamOptions,
} from '../models/generator.ts'
import type { ModelInputs, ModelOutput } from '../models/index.ts'
import { PreTrainedModel } from '../models/index.ts'
import type { Interchangeable } from '../models/switching.ts'
import { joinKeyValues, KeyValueCache, type KeyValues, Module, type Parameter } from '../nn/index.ts'
import type { TensorData } from '../runtime/index.ts'
import { didYouMean } from '../util/nearest.ts'
import { canonicalSlots } from './adapted-tree.ts'
import { adaptersOf, type Composition, fusionsOf, isComposition, repetitionsOf } from './composition.ts'
import type { PeftConfig } from './config.ts'
import { hostOf } from './hosts.ts'
import { type InjectedAdapter, injectAdapter, removeShared } from './inject.ts'
import { formOf } from './interchange.ts'
import { type MergedParameter, type MergeOptions, mergeTree, takeWrappersOut } from './merge.ts'
import { Merging, mergeable, refuseMerged } from './merging.ts'
import type { Front, ModelFacts, PreparationTools, TargetOptions } from './method.ts'
import { ModulesToSaveWrapper } from './modules-to-save.ts'
import { formatTrainableParameters, type ParameterCounts } from './parameter-counts.ts'
import type { PushedAdapter, PushToHubOptions } from './push.ts'
import { chooseForRows, type RowChoice, rowIndices, tracedRows } from './rows.ts'
import { getPeftModelStateDict } from './state-dict.ts'
import { HEAD_MODULES } from './task-type.ts'
import { type AdapterState, changed, changedAlone, TunerLayer } from './tuner-layer.ts'
import { addWeightedAdapter, type WeightedOptions } from './weighted.ts'

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
  /** The adapters whose method has looked at data, or that came with what it found. */
  readonly #prepared = new Set<string>()
  /** What is merged into the weights of the tree. */
  readonly #merging: Merging
  /** Counts what makes a trace one of a certain adapter: someone asked which is active, or named one. */
  #namings = 0
  /** From the tree's own parameters to the base's that they began as. */
  readonly #originals: ReadonlyMap<Parameter, Parameter>

  /** @param options.inPlace put adapters into the given tree itself, in the place of a copy (false) */
  constructor(given: M, { inPlace = false }: { inPlace?: boolean } = {}) {
    super()
    const carried = inPlace ? [] : (hostOf(given)?.adapterNames() ?? [])
    if (carried.length) {
      throw new Error(
        `${given.constructor.name} carries adapters in its own tree (${carried.join(', ')}); add more with its addAdapter or loadAdapter, or take a plain model with adaptersOf(model).unload()`,
      )
    }
    const copy = given.clone()
    const [base, tree] = inPlace ? [copy, given] : [given, copy]
    this.#base = base
    // What is compiled of the tree by itself follows the adapters too.
    Object.defineProperties(tree, {
      variant: { value: () => this.variant(), configurable: true },
      interchangeable: { value: () => this.interchangeable(), configurable: true },
    })
    const originals = base.parameters()
    this.#originals = new Map(tree.parameters().map((parameter, i) => [parameter, originals[i]]))
    for (const [, parameter] of tree.namedParameters()) parameter.requiresGrad = false
    this.base_model = new AdaptedModel(tree)
    this.#merging = new Merging(tree, this.adapterState)
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
    return { ...base.inputSpecs(), adapter_indices: { dtype: 'int64', shape: ['batch'], optional: true } }
  }

  /**
   * The input `adapter_indices` of a batch whose rows have adapters of their own.
   *
   * @param rows the adapter of each row; `__base__` is the base model
   * @throws for a name that no adapter has
   * @example
   * await run({ ...batch, adapter_indices: peft.adapterIndices(['legal', 'default', '__base__']) })
   */
  adapterIndices(rows: readonly string[]): TensorData {
    return rowIndices(rows, this.adapterNames())
  }

  /** What a generation needs for rows that name their adapters: only those adapters take part in it. */
  adapterRows(rows: readonly string[]): RowChoice {
    return chooseForRows(rows, this.adapterNames())
  }

  /** Equal as long as the same function is computed of inputs and parameters: what was compiled follows it. */
  variant(): string {
    return JSON.stringify({ ...this.adapterState, rows: undefined })
  }

  /**
   * The active adapter as one among others that could be in its place; undefined where several work together, or none,
   * or where it is not certain that another one's values are all that would change.
   */
  interchangeable(): Interchangeable | undefined {
    const { active, composition, disabled, skipLayers, structure } = this.adapterState
    if (disabled || composition || active.length !== 1 || this.mergedAdapters.length) return undefined
    const adapter = this.#adapters.get(active[0])
    const form = adapter && formOf(adapter)
    if (!form) return undefined
    const before = this.#namings
    return {
      key: JSON.stringify([structure, skipLayers, form.key]),
      parameters: form.parameters,
      isAnonymous: () => this.#namings === before,
    }
  }

  // biome-ignore lint/suspicious/noExplicitAny: a module of one's own has its own signature
  override forward(inputs: ModelInputs, ...others: any[]): ModelOutput {
    const { adapterState } = this
    if (adapterState.disabled) this.#useOriginalBiases()
    const isTraining = graphOf(inputs instanceof Tensor ? [inputs] : Object.values(inputs)).training
    if (isTraining && !adapterState.disabled) refuseMerged(this.mergedAdapters, 'Nothing can be trained')
    const entered = this.#enter(inputs)
    const { adapter_indices: rows, adapter_names: names = this.adapterNames() } = entered.inputs
    if (rows) {
      this.#namings++
      refuseMerged(this.mergedAdapters, 'Rows cannot have adapters of their own')
      this.#refuseChangedBase()
      adapterState.rows = tracedRows(rows, names)
    }
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
    const { composition, disabled } = this.adapterState
    if (composition && !disabled) inputs = repeatRows(inputs, repetitionsOf(composition))
    for (const adapter of this.#activeOnes()) {
      if (!adapter.method.enter) continue
      if (inputs.adapter_indices && !adapter.method.can.mixedBatch)
        throw new Error(`${adapter.config.peftType} changes what enters the model and cannot differ from row to row`)
      const entered = adapter.method.enter(inputs, { ...adapter, graph: graphOf(Object.values(inputs)) })
      inputs = entered.inputs
      if (entered.leave) leaves.unshift(entered.leave)
    }
    return { inputs, leave: output => leaves.reduce((result, leave) => leave(result), output) }
  }

  /** What active adapters put in front of every text, counted. */
  front(): Front {
    const result = { positions: 0, predicts: false }
    for (const { method, config, model } of this.#activeOnes()) {
      const own = method.front?.(config, model)
      result.positions += own?.positions ?? 0
      result.predicts ||= own?.predicts ?? false
    }
    return result
  }

  /**
   * Whether texts may share a row that attention keeps apart: the active adapters change weights and nothing else, so that
   * what becomes of a token depends on other tokens through attention alone.
   */
  keepsTokensApart(): boolean {
    const { composition, disabled } = this.adapterState
    if (composition && !disabled) return false
    return this.#activeOnes().every(({ method }) => method.can.merge && !method.enter && !method.front)
  }

  /** Whether any of the adapters looks at a whole text at once, so that prompts must not be read in pieces. */
  readsWhole(): boolean {
    return this.adapterNames().some(name => {
      const { method, config } = this.adapter(name)
      return method.readsWhole?.(config) ?? false
    })
  }

  /**
   * The keys and values of what active adapters put in front of every text of a decoder, `[1, heads, length, width]` for
   * each layer; none where there is nothing. Traced.
   */
  prelude(): readonly KeyValues[] {
    let past: readonly KeyValues[] = []
    const embeddings: Tensor[] = []
    for (const adapter of this.#activeOnes()) {
      const own = adapter.method.prelude?.(adapter)
      if (own?.embeddings) embeddings.unshift(own.embeddings)
      if (own?.keyValues) past = joinKeyValues(own.keyValues, past)
    }
    if (embeddings.length === 0) return past
    const cache = new KeyValueCache(past, [], true)
    this.base_model.forward({ inputs_embeds: concat(embeddings, 1), cache })
    return joinKeyValues(past, cache.present)
  }

  /** With the adapters off, biases of the base that were trained with them have the base's values (PEFT leaves them). */
  #useOriginalBiases(): void {
    const graph = graphOf([])
    for (const [own, original] of this.#originals) {
      if (isChanged(own, original)) graph.bind(own, () => original.trace(graph))
    }
  }

  /** Rows share what an adapter has trained of the base: it cannot be one thing for one row and another for the next. */
  #refuseChangedBase(): void {
    const changed = [...this.#originals].find(([own, original]) => isChanged(own, original))
    if (!changed) return
    throw new Error(
      `Rows cannot have adapters of their own: an adapter has changed "${changed[0].name}" of the base, which all rows share (options such as bias "all"); run each adapter by itself, with setAdapter`,
    )
  }

  /** Continues prompts token by token with the active adapters; see {@link PreTrainedModel.generate}. */
  async generate(inputs: GenerateInputs, options?: GenerateOptions): Promise<GenerateResult> {
    return generator().generate(this, inputs, options)
  }

  /** Continues one prompt and gives the text piece by piece; see {@link PreTrainedModel.stream}. */
  stream(inputs: readonly number[] | Recordings, options?: StreamOptions): AsyncIterableIterator<string> {
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
    this.#namings++
    return this.adapterState.disabled ? [] : this.adapterState.active
  }

  #activeOnes(): InjectedAdapter[] {
    const { active, disabled } = this.adapterState
    return disabled ? [] : active.map(name => this.#adapters.get(name)!)
  }

  /** The configuration of an adapter. Throws when there is none of that name. */
  configOf(adapterName: string): AnyPeftConfig {
    this.#namings++
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

  /**
   * Adds an adapter with fresh values. It becomes active when it is the first.
   *
   * @throws when the name is taken or not fit, the options do not suit the model, or adapters are merged
   */
  addAdapter(adapterName: string, config: AnyPeftConfig, { seed = 0, strict = true }: GetPeftModelOptions = {}): void {
    if (adapterName in this.peftConfig)
      throw new Error(`There already is an adapter "${adapterName}"; delete it, or choose another name`)
    if (!/^[^.\s/\\]+$/.test(adapterName))
      throw new Error(`An adapter's name must not hold dots, slashes or spaces, got "${adapterName}"`)
    // Names of parameters hold the adapter's name as one of their parts, by which its own are told from others.
    const taken = [...this.#base.parameterSlots()].find(([path]) => path.split('.').includes(adapterName))
    if (taken)
      throw new Error(`An adapter cannot be called "${adapterName}": "${taken[0]}" of the model has that in its name`)
    // First values may depend on the weights as the base has them.
    refuseMerged(this.mergedAdapters, 'No adapter can be added')
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
    this.#changed(adapterName)
    if (this.adapterState.active.length === 0) this.adapterState.active = [adapterName]
    this.#trainActive()
  }

  /** Says that an adapter came or goes. */
  #changed(adapterName: string): void {
    const adapter = this.#adapters.get(adapterName)
    // One that others can stand in for leaves what they compute as it is.
    if (adapter && formOf(adapter)) changedAlone(this.adapterState)
    else changed(this.adapterState)
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
    // Those that were found before may be frozen now.
    const known = new Set(this.#trained.get(adapterName))
    const { bias } = config as { bias?: string }
    const adapter = this.#adapters.get(adapterName)!
    const hook = adapter.method.updateHook?.(adapter)
    const targets = adapter.targets.map(path => `base_model.model.${path}.`)
    const trained: Parameter[] = []
    const others = new Set(this.adapterNames().filter(name => name !== adapterName))
    for (const [path, parameter] of canonicalSlots(this, '', { without: others })) {
      // Most paths belong to the base: only those that can matter are taken apart.
      if (!(path.includes(adapterName) || (bias && bias !== 'none' && path.endsWith('bias')))) continue
      const parts = path.split('.')
      if (parts.includes(adapterName)) {
        parameter.varies = true
        if (hook) parameter.hook = hook
        if (parameter.requiresGrad || known.has(parameter)) trained.push(parameter)
        continue
      }
      const isBias = parts.at(-1) === 'bias' && !parts.includes('original_module')
      const isTarget = targets.some(target => path.startsWith(target))
      if (!isBias || !(bias === 'all' || (bias?.endsWith('_only') && isTarget))) continue
      parameter.varies = true
      trained.push(parameter)
    }
    this.#trained.set(adapterName, [...new Set(trained)])
  }

  /** Lets exactly the active adapters train, those that were not loaded for inference only. */
  #trainActive(): void {
    for (const parameters of this.#trained.values()) for (const parameter of parameters) parameter.requiresGrad = false
    for (const name of this.adapterState.active) {
      if (this.peftConfig[name].inferenceMode) continue
      for (const parameter of this.#trained.get(name) ?? []) parameter.requiresGrad = true
    }
  }

  /** Finds anew what an adapter trains, after its method has put other parameters in the place of its own. */
  refreshTrained(adapterName: string): void {
    changed(this.adapterState)
    this.#train(adapterName, this.configOf(adapterName))
    this.#trainActive()
  }

  /** Lets adapters train, or freezes them. A switch of adapters lets the active ones train again. */
  setRequiresGrad(adapterNames: string | readonly string[], requiresGrad = true): void {
    for (const name of [adapterNames].flat()) {
      this.configOf(name)
      if (requiresGrad && this.mergedAdapters.includes(name)) refuseMerged([name], 'It cannot train')
      for (const parameter of this.#trained.get(name) ?? []) parameter.requiresGrad = requiresGrad
    }
  }

  /** Whether the method of an adapter wants to look at data before training, and has not yet. */
  needsPreparation(adapterName: string): boolean {
    const { method, config } = this.adapter(adapterName)
    const wantsData = method.prepare !== undefined && (method.wantsData?.(config) ?? true)
    return wantsData && !this.#prepared.has(adapterName)
  }

  /** Says that an adapter has what its method would look for in data: its values came from a file. */
  markPrepared(adapterName: string): void {
    this.#prepared.add(adapterName)
  }

  /** Lets an adapter's method look at data; `prepareAdapters` of the training layer makes the tools. */
  async prepare(adapterName: string, tools: PreparationTools): Promise<void> {
    const adapter = this.adapter(adapterName)
    await adapter.method.prepare?.(adapter, tools)
    this.#prepared.add(adapterName)
    this.#train(adapterName, adapter.config)
    this.#trainActive()
  }

  /**
   * Makes one adapter, or several, the active ones; a composition says how they work together.
   *
   * @example
   * peft.setAdapter(Stack('language', Fuse('sentiment', 'topic')))
   * @param options.skipLayers the numbers of the layers that compute without adapters until this is called again
   *   (AdapterDrop, arXiv 2010.11918); decoder layers count on after the encoder's
   */
  setAdapter(
    adapterName: string | readonly string[] | Composition,
    options: { skipLayers?: readonly number[] } = {},
  ): void {
    const composition = isComposition(adapterName) ? adapterName : undefined
    const names = composition ? [...adaptersOf(composition), ...fusionsOf(composition)] : [adapterName as string].flat()
    for (const name of names) this.configOf(name)
    const merged = this.mergedAdapters
    if (merged.length && names.join() !== merged.join())
      refuseMerged(merged, `The active adapters cannot become ${names.join(', ') || 'none'}`)
    this.adapterState.active = names
    this.adapterState.composition = composition
    this.adapterState.skipLayers = options.skipLayers
    this.#trainActive()
  }

  /** Removes an adapter; the first of those that are left becomes active where none is. */
  deleteAdapter(adapterName: string): void {
    this.configOf(adapterName)
    if (this.mergedAdapters.includes(adapterName)) refuseMerged([adapterName], 'It cannot be deleted')
    this.#unwrap(adapterName)
    delete this.peftConfig[adapterName]
    const left = this.adapterState.active.filter(name => name !== adapterName)
    if (left.length !== this.adapterState.active.length) this.adapterState.composition = undefined
    this.adapterState.active = left.length ? left : this.adapterNames().slice(0, 1)
    this.#trainActive()
  }

  /** Takes an adapter out of the tree; a module that no adapter is left on stands there as it was. */
  #unwrap(adapterName: string): void {
    this.#changed(adapterName)
    removeShared(this, adapterName, Object.keys(this.#adapters.get(adapterName)?.shared ?? {}))
    // Innermost first, so that paths stay true while wrappers go.
    for (const [path, module] of [...this.model.namedModules()].reverse()) {
      const isTuner = module instanceof TunerLayer
      if (!isTuner && !(module instanceof ModulesToSaveWrapper)) continue
      module.deleteAdapter(adapterName)
      if (module.adapterNames().length === 0)
        this.model.setSubmodule(path, isTuner ? module.base_layer : module.original_module)
    }
    this.#adapters.get(adapterName)?.restore?.()
    this.#adapters.delete(adapterName)
    this.#trained.delete(adapterName)
    this.#prepared.delete(adapterName)
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

  /** The parameters whose values vary between runs: those of adapters, and what they train of the base. */
  adapterParameters(): [string, Parameter][] {
    return [...this.namedParameters()].filter(
      ([, { varies, isLoaded, isPending }]) => varies && (isLoaded || isPending),
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
   * Sets the scale of an adapter's effect in all its layers, as a factor on what its options say; nothing is compiled
   * for it.
   *
   * @throws for methods whose effect has no scale
   */
  setScale(adapterName: string, scale: number): void {
    for (const layer of this.adapter(adapterName).layers.values()) layer.setScale(adapterName, scale)
  }

  /** The adapters that are merged into the weights of this model now. */
  get mergedAdapters(): readonly string[] {
    return this.#merging.adapters
  }

  /**
   * Makes adapters part of the weights of this model's tree: it computes the same and costs what the base costs. The
   * base stays as it is, and `unmergeAdapter` brings back exactly what was there. The merged adapters are the active
   * ones until then.
   *
   * @param adapterNames by default the active ones; those that are merged already stay so
   * @returns the largest change of each merged parameter
   * @throws when a method cannot be merged, or a merged value would be NaN or infinite; then nothing was changed
   */
  async mergeAdapter(
    adapterNames?: readonly string[],
    options: MergeOptions = {},
  ): Promise<readonly MergedParameter[]> {
    return this.#merging.merge(mergeable(this, adapterNames), options)
  }

  /** Takes merged adapters out of the weights: they are exactly what they were. */
  unmergeAdapter(): void {
    this.#merging.unmerge()
  }

  /**
   * A plain model of the base's class whose weights contain adapters. This model and the base stay as they are.
   *
   * @param options.adapterNames by default the active ones
   * @param options.onReport receives the largest change of each merged parameter
   * @throws when a method cannot be merged, or a merged value would be NaN or infinite
   */
  async mergeAndUnload(options: MergeAndUnloadOptions = {}): Promise<M> {
    const { adapterNames = this.activeAdapters, onReport, ...merging } = options
    // Without active adapters there is nothing to merge, and the result is the base.
    if (adapterNames.length) mergeable(this, adapterNames)
    const tree = this.#merging.plainCopy() as M
    const report = await mergeTree(tree, adapterNames, merging)
    onReport?.(report)
    return tree
  }

  /**
   * A plain model of the base's class without the adapters. Modules that the active adapter trained as a whole stay as
   * it left them, as in PEFT.
   */
  async unload(): Promise<M> {
    const tree = this.#merging.plainCopy() as M
    takeWrappersOut(tree, this.activeAdapters)
    return tree
  }

  /**
   * Adds an adapter that is the weighted sum of others; which ways of adding up there are is the method's affair.
   *
   * @throws when the name is taken, a method has no sum, or the adapters do not fit together; then nothing was changed
   * @example
   * await peft.addWeightedAdapter(['legal', 'default'], [0.7, 0.3], 'both', { combinationType: 'ties_svd', density: 0.5 })
   */
  async addWeightedAdapter(
    adapters: readonly string[],
    weights: readonly number[],
    adapterName: string,
    options: WeightedOptions = {},
  ): Promise<void> {
    await addWeightedAdapter(this, adapters, weights, adapterName, options)
  }

  /** Writes adapters, each in the format of its method: as PEFT does, or as AdapterHub does. */
  async savePretrained(folder: string, options: SaveAdapterOptions = {}): Promise<void> {
    const { saveAdapters } = await import('./save.ts')
    await saveAdapters(this, folder, options)
  }

  /**
   * Uploads adapters to a hub, in the form that `savePretrained` writes.
   *
   * @param repo `user/name`; it is made where there is none
   */
  async pushToHub(repo: string, options: PushToHubOptions = {}): Promise<PushedAdapter> {
    const { pushToHub } = await import('./push.ts')
    return pushToHub(this, repo, options)
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

/** Whether a parameter of the tree has got other values than the base's that it began as. */
function isChanged(own: Parameter, original: Parameter): boolean {
  if (!own.isLoaded || !original.isLoaded) return own.isLoaded
  const [a, b] = [own.data, original.data]
  // Whoever compiles the base lays its values into another array.
  return a !== b && a.some((value, i) => value !== b[i])
}

/** The inputs with all rows as often as parallel adapters want them; labels that were repeated already stay. */
function repeatRows(inputs: ModelInputs, times: number): ModelInputs {
  if (times === 1) return inputs
  if (inputs.cache) throw new Error('Parallel adapters repeat the batch, which a cache has no place for')
  const batch = (inputs.input_ids ?? inputs.inputs_embeds ?? inputs.pixel_values)?.shape[0]
  const repeated = Object.entries(inputs).map(([name, value]) => [
    name,
    value instanceof Tensor && value.rank > 0 && value.shape[0] === batch
      ? concat(Array<Tensor>(times).fill(value), 0)
      : value,
  ])
  return Object.fromEntries(repeated) as ModelInputs
}

/** The output with what layers want added to the loss, where there is a loss. */
function withPenalties(output: ModelOutput): ModelOutput {
  const { loss } = output
  return loss ? { ...output, loss: loss.graph.takeLosses().reduce((sum, part) => add(sum, part), loss) } : output
}

/** Options of {@link PeftModel.mergeAndUnload}. */
export interface MergeAndUnloadOptions extends MergeOptions {
  adapterNames?: readonly string[]
  onReport?: (report: readonly MergedParameter[]) => void
}

/** Options of {@link PeftModel.savePretrained}. */
export interface SaveAdapterOptions {
  /** The adapters to write; all by default. */
  selectedAdapters?: readonly string[]
  /**
   * Writes adapters whose first values were taken out of the base (PiSSA, OLoRA) as plain LoRA of twice the rank, which
   * does the same on the base as it is, also in other libraries (false).
   */
  convertToPlainLora?: boolean
  /**
   * The folder of the adapter as it was saved before training, with whose values `convertToPlainLora` is done; by
   * default what was taken out is worked out again from the base. PEFT's name.
   */
  pathInitialModelForWeightConversion?: string
}

/** Options for loading an adapter. */
export interface LoadAdapterOptions {
  /** Whether the adapter can be trained further (false). */
  isTrainable?: boolean
  revision?: string
  /** Whether the prediction head in files of AdapterHub is loaded with the adapter (true). */
  withHead?: boolean
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
