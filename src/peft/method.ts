/** @file What a method is: the interface that built-in methods and users' own implement, and the registry. */
import type { Graph, Tensor } from '../graph/index.ts'
import type { ModelInputs, ModelOutput, ModelTask, PreTrainedModel, PretrainedConfig } from '../models/index.ts'
import type { Gradients, KeyValues, Module, Parameter, UpdateHook } from '../nn/index.ts'
import { didYouMean } from '../util/nearest.ts'
import type { Random } from '../util/random.ts'
import type { PeftConfig } from './config.ts'
import type { AdapterState, TunerLayer } from './tuner-layer.ts'
import type { WeightedOptions } from './weighted.ts'

/** What a method may know of the model that an adapter is put on. */
export interface ModelFacts {
  /** The architecture, `custom` for a module tree of one's own. */
  modelType: string
  /** What the model is for; undefined for a module tree of one's own. */
  task: ModelTask | undefined
  /** The base model's configuration; undefined for a module tree of one's own. */
  config: PretrainedConfig | undefined
  /** The tree with the adapters in it. */
  tree: Module
  /** The base model as it was given. */
  base: Module
}

/** What an adapter owns beside its layers, by the path that {@link PeftMethod.shared} gave. */
export type SharedState = Readonly<Record<string, Module | Parameter>>

/** One adapter of a method on a model. */
export interface AdapterContext<C extends PeftConfig = PeftConfig> {
  adapterName: string
  config: C
  model: ModelFacts
  /** What {@link PeftMethod.shared} made. */
  shared: SharedState
  /** The adapter's layers, by the path of the module that they stand in the place of. */
  layers: ReadonlyMap<string, TunerLayer>
  state: AdapterState
}

/** What a method is given when an adapter is put on a module. */
export interface WrapContext<C extends PeftConfig = PeftConfig> {
  /** The module at `path`: the original, or the tuner layer that other adapters have already put there. */
  module: Module
  /** Its path in the base model. */
  path: string
  /** The number of the model's layer that it is a part of; undefined where it is in none. */
  layerIndex: number | undefined
  adapterName: string
  config: C
  /** Which adapters are active; shared by all layers of a model. */
  state: AdapterState
  /** The source of first values, of this path alone. */
  random: Random
  model: ModelFacts
  shared: SharedState
}

/** What {@link PeftMethod.shared} is given. */
export interface SharedContext<C extends PeftConfig = PeftConfig> {
  adapterName: string
  config: C
  model: ModelFacts
  /** The paths of the target modules. */
  targets: readonly string[]
  /** The source of first values for the name of something shared. */
  random(name: string): Random
}

/** What {@link PeftMethod.enter} gives: the inputs in their new form, and how to finish the outputs. */
export interface Entered {
  inputs: ModelInputs
  /** Changes the outputs that the model gave for these inputs. */
  leave?(output: ModelOutput): ModelOutput
}

/** What {@link PeftMethod.prelude} gives: virtual tokens, or the keys and values of some; either or both. */
export interface Prelude {
  /** `[1, length, hidden]`, in place of embedded tokens. */
  embeddings?: Tensor
  /** `[1, heads, length, width]` for each layer of a decoder. */
  keyValues?: readonly KeyValues[]
}

/** What stands in front of every text; see {@link PeftMethod.front}. */
export interface Front {
  /** How many of the positions that a text can have it takes. */
  positions: number
  /** Whether the first token of the text is predicted behind it, so that it counts in the loss of a decoder. */
  predicts: boolean
}

/** A file beside the one that PEFT knows; see {@link PeftMethod.trainingFile}. */
export interface TrainingFile<C extends PeftConfig = PeftConfig> {
  /** Its name: `prompt_encoder.safetensors`. */
  readonly name: string
  /**
   * What stands in it, by keys that the adapter's own file does not have; nothing where that file suffices.
   *
   * @param own the adapter's own parameters, as for {@link PeftMethod.stateDict}
   */
  stateDict(context: AdapterContext<C>, own: ReadonlyMap<string, Parameter>): Map<string, Parameter>
}

/** Which gradients a preparation wants. */
export interface GradientRequest {
  /** Whether each example has a gradient of its own (false): a batch has the mean of its examples'. */
  perExample?: boolean
  /** How many examples are looked at, at most; batches are taken whole. All by default. */
  limit?: number
}

/** What a preparation with data can use; see {@link PeftMethod.prepare}. */
export interface PreparationTools {
  /**
   * The gradients of the loss by `parameters`, batch after batch. The parameters may belong to the base model: they are
   * differentiated, never changed.
   */
  gradients(
    parameters: Iterable<readonly [string, Parameter]>,
    request?: GradientRequest,
  ): AsyncIterable<{ loss: number; grads: Gradients }>
}

/** Options that choose the modules a layer method works on. */
export interface TargetOptions {
  targetModules?: readonly string[] | string | null
  excludeModules?: readonly string[] | string | null
  layersToTransform?: readonly number[] | number | null
  layersPattern?: readonly string[] | string | null
  modulesToSave?: readonly string[] | null
}

/** The five families of the survey arXiv 2312.12148. */
export type MethodFamily = 'additive' | 'partial' | 'reparameterized' | 'hybrid' | 'unified'

/** A published method that is another one with certain options. */
export interface Preset<C extends PeftConfig = PeftConfig> {
  /** Its name in prose, with its paper. */
  title: string
  create(): C
}

/** What documentation, comparison and the conformance battery say and ask of a method. */
export interface MethodAbout<C extends PeftConfig = PeftConfig> {
  /** Its name in prose: `LoRA`. */
  title: string
  family: MethodFamily
  /** What one layer computes, in plain text. */
  formula: string
  /** The paper, as `arXiv 2106.09685` or a title. */
  paper: string
  /** The number of trained values in words: `r (in + out) a layer`. */
  parameters: string
  /**
   * The number of trained values in closed form, from the shapes of the target modules alone. Modules that are trained
   * as a whole (heads) and biases of the base are not counted.
   */
  count(config: C, targets: ReadonlyMap<string, Module>, model: ModelFacts): number
  /** A configuration that suits a tiny model (width 16 to 32), with the given options over it. */
  example(options?: Record<string, unknown>): C
  /** The options and the learning rate with which it learns well on a small model; used where none are given. */
  recommended: { learningRate: number; options?: Record<string, unknown> }
  /** The case of the reference results that checks it, where there is one. */
  oracle?: string
  /** Published methods that are this one with certain options, by the names they have on the command line. */
  presets?: Readonly<Record<string, Preset<C>>>
}

/** What a method can do. The core and the conformance battery ask; nothing asks which method it is. */
export interface MethodCapabilities {
  /** Its effect can become part of the base's weights, and be taken out again. */
  merge: boolean
  /** Rows of one batch can have different adapters: in one go (`native`), or each adapter computing all rows (`each`). */
  mixedBatch: 'native' | 'each' | false
  /** Adapters can be added up to a new one (`addWeightedAdapter`). */
  weightedSum: boolean
  /** It can become a LoRA adapter (`convertToLora`). */
  convertToLora: boolean
  /** A new adapter changes nothing. */
  noOpAtInit: boolean
  /** Several of its adapters can be active at once. */
  several: boolean
}

/**
 * A method of parameter-efficient fine-tuning. A layer method is its options and `wrap`; everything else is a hook that
 * few methods need. Nothing outside a method's folder asks which method it is.
 */
export interface PeftMethod<C extends PeftConfig & TargetOptions = PeftConfig & TargetOptions> {
  /** The name that stands in `adapter_config.json` as `peft_type`. */
  readonly peftType: string
  readonly about: MethodAbout<C>
  readonly can: MethodCapabilities
  /** The configuration in a file's JSON. */
  configFromJson(json: unknown, label: string): C

  /** Whether its adapters need others to work on (a fusion); then it is not among the methods to choose from. */
  readonly needsOthers?: boolean
  /** The kinds of modules it works on, for messages; empty when it works on the model as a whole. */
  readonly layerKinds: readonly string[]
  /** The target modules for a model type, where the user names none. */
  defaultTargetModules?(modelType: string): readonly string[] | string | undefined
  /** Chooses the modules by what they are, in the place of names: their paths in the base model. */
  chooseModules?(config: C, model: ModelFacts): string[]
  /** Fills in the options that depend on the model and that the user left open; throws where the model does not suit. */
  complete?(config: C, model: ModelFacts): void
  /**
   * Changes the model's tree before its modules are chosen: layers that stand there several times.
   *
   * @returns what undoes it once the adapter goes
   */
  reshape?(context: Omit<AdapterContext<C>, 'shared' | 'layers'>): (() => void) | undefined
  /** The modules to work on, from those that `targetModules` names: some less, or others beside them. */
  adjustTargets?(config: C, model: ModelFacts, named: readonly string[]): readonly string[]
  /** Checks what can only be checked on a model; throws with the way out. */
  validate?(config: C, targets: readonly string[], model: ModelFacts): void

  /**
   * What the adapter owns beside its layers: modules and parameters by the path of a dictionary on the
   * {@link PeftModel} (`prompt_encoder`, `base_model.vera_A`), where they stand under the adapter's name.
   */
  shared?(context: SharedContext<C>): Record<string, Module | Parameter>
  /** Puts an adapter on a module: the layer that takes its place, or undefined when it cannot work there. */
  wrap?(context: WrapContext<C>): TunerLayer | undefined
  /** Called once all layers stand, for what concerns several of them (ties, hooks on parameters). */
  attached?(context: AdapterContext<C>): void

  /**
   * The options that what an adapter computes depends on, beside the shapes of its parameters and what it is fed
   * ({@link TunerLayer.valuesBeside}). Adapters on the same modules for which they are equal take each other's place in
   * what was traced. Undefined for an adapter that has constants of its own, or changes what others compute; without it
   * each adapter is traced.
   */
  tracedOptions?(context: AdapterContext<C>): Readonly<Record<string, unknown>> | undefined

  /** Changes what enters the model and what leaves it: soft prompts. Traced like `forward`. */
  enter?(inputs: ModelInputs, context: AdapterContext<C> & { graph: Graph }): Entered
  /** What {@link PeftMethod.enter} puts in front of every text, counted. */
  front?(config: C, model: ModelFacts): Front
  /**
   * What {@link PeftMethod.enter} puts in front of every text of a decoder, by itself, so that generation computes its
   * keys and values once. Traced. `enter` leaves inputs alone whose cache continues a sequence.
   */
  prelude?(context: AdapterContext<C>): Prelude
  /**
   * Whether what is computed for a token depends, beside attention, on the other tokens of a pass (averages over them), so
   * that a prompt must not be read in pieces.
   */
  readsWhole?(config: C): boolean
  /** Looks at data before training: gradients, importance. Called once an adapter, by the Trainer or by `prepareAdapter`. */
  prepare?(context: AdapterContext<C>, tools: PreparationTools): Promise<void>
  /** Whether an adapter with these options wants to be prepared, where only some do. */
  wantsData?(config: C): boolean
  /** Told of the training steps of the adapter's parameters: rank allocation, random masks. */
  updateHook?(context: AdapterContext<C>): UpdateHook | undefined

  /** The name of the format that an adapter is saved in, by {@link registerAdapterFormat}; `peft` by default. */
  format?(config: C): string
  /** The parameters to save under the keys of the file; by default the adapter's own, without the adapter's name in the keys. */
  stateDict?(context: AdapterContext<C>, own: ReadonlyMap<string, Parameter>): Map<string, Parameter>
  /** What the keys of modules of the base begin with in the file: `base_model.model.` unless a method's files differ. */
  readonly basePath?: string
  /** A file beside the adapter's own, which PEFT passes over: what it takes to train on and PEFT does not keep. */
  trainingFile?: TrainingFile<C>
  /** Whether an embedding that the adapter targets is saved whole with it (true). */
  savesEmbeddings?(config: C): boolean
  /** Throws where this very adapter cannot be merged, with the way out. */
  checkMerge?(context: AdapterContext<C>): void
  /**
   * The adapter as one that does the same on the unchanged base, where its first values were taken out of the base.
   *
   * @param own what {@link PeftMethod.stateDict} gives
   * @param initial the tensors of the adapter before training, where its file was kept
   */
  toPlain?(
    context: AdapterContext<C>,
    own: ReadonlyMap<string, Parameter>,
    initial?: ReadonlyMap<string, Float32Array>,
  ): { config: C; state: Map<string, Parameter> }
  /** Makes room for the tensors of a file whose shapes the options alone do not tell. Called before values are placed. */
  beforeLoad?(context: AdapterContext<C>, shapes: ReadonlyMap<string, readonly number[]>): void
  /** Checks the values that were placed against those of the file, by key. @returns what is odd, for a warning */
  afterLoad?(context: AdapterContext<C>, values: ReadonlyMap<string, Float32Array>): Promise<string | undefined>
  /** The options of an adapter that is the weighted sum of others; throws where they do not fit together. */
  combinedConfig?(context: Omit<CombineContext<C>, 'target'> & { targets: Partial<C> }): C
  /** Gives a new adapter the values of the weighted sum of others; see `addWeightedAdapter`. */
  combine?(context: CombineContext<C>): Promise<void>
  /**
   * Gives an adapter the options of another one, whose values are about to take the place of its own; see
   * `hotswapAdapter`. Throws, before it changes anything, where they do not fit.
   *
   * @param shapes the shapes of the other adapter's tensors, by the keys of its file
   * @returns the options of what the adapter is then
   */
  swap?(context: AdapterContext<C>, config: C, shapes: ReadonlyMap<string, readonly number[]>): C
}

/** An adapter that takes part in a weighted sum. */
export interface WeightedSource<C extends PeftConfig = PeftConfig> {
  name: string
  weight: number
  config: C
  layers: ReadonlyMap<string, TunerLayer>
  shared: SharedState
}

/** What {@link PeftMethod.combine} is given: the sources, and the new adapter with its first values. */
export interface CombineContext<C extends PeftConfig = PeftConfig> {
  sources: readonly WeightedSource<C>[]
  options: WeightedOptions
  target: AdapterContext<C>
}

const methods = new Map<string, PeftMethod>()

/** The types of all registered methods, by their own names: `PeftType.LORA`. */
export const PeftType: Readonly<Record<string, string>> = {}

/** Makes a method known, so that its files can be loaded. Throws when the name is taken. */
export function registerPeftMethod<C extends PeftConfig & TargetOptions>(method: PeftMethod<C>): void {
  if (methods.has(method.peftType)) throw new Error(`The PEFT method "${method.peftType}" is already registered`)
  methods.set(method.peftType, method as unknown as PeftMethod)
  Object.assign(PeftType, { [method.peftType]: method.peftType })
}

/** The method of a type. Throws for an unknown one, with the nearest. */
export function getPeftMethod(peftType: string): PeftMethod {
  const method = methods.get(peftType)
  if (!method) {
    throw new Error(
      `The PEFT method "${peftType}" is not known.${didYouMean(peftType, methods.keys())} Known: ${[...methods.keys()].join(', ')}. Register others with registerPeftMethod.`,
    )
  }
  return method
}

/** The types of all registered methods whose adapters work by themselves. */
export function peftTypes(): string[] {
  return [...methods].filter(([, { needsOthers }]) => !needsOthers).map(([type]) => type)
}

/** The configuration in the JSON of an `adapter_config.json`, of whatever registered method it is. */
export function getPeftConfig(json: unknown, label = 'adapter_config.json'): PeftConfig & TargetOptions {
  const type = (json as { peft_type?: unknown } | null)?.peft_type
  if (typeof type !== 'string') throw new Error(`${label}: "peft_type" is missing, so this is not an adapter of PEFT`)
  return getPeftMethod(type).configFromJson(json, label)
}

/** The base model of a {@link ModelFacts} as a pretrained one. Throws for a module tree of one's own. */
export function pretrained({ base }: ModelFacts, peftType: string): PreTrainedModel {
  if ('getInputEmbeddings' in base) return base as PreTrainedModel
  throw new Error(
    `${peftType} works on pretrained language models, which have token embeddings; ${base.constructor.name} is a module of one's own. Use a method that works on layers, such as LORA.`,
  )
}
