/** @file What a method is: the interface that built-in methods and users' own implement, and the registry. */
import type { Graph } from '../graph/index.ts'
import type { ModelInputs, ModelOutput, ModelTask, PreTrainedModel, PretrainedConfig } from '../models/index.ts'
import type { Gradients, Module, Parameter, UpdateHook } from '../nn/index.ts'
import { didYouMean } from '../util/nearest.ts'
import type { Random } from '../util/random.ts'
import type { PeftConfig } from './config.ts'
import type { AdapterState, TunerLayer } from './tuner-layer.ts'

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

/** What a preparation with data can use; see {@link PeftMethod.prepare}. */
export interface PreparationTools {
  /**
   * The gradients of the loss by `parameters`, batch after batch. The parameters may belong to the base model: they are
   * differentiated, never changed.
   */
  gradients(parameters: Iterable<readonly [string, Parameter]>): AsyncIterable<{ loss: number; grads: Gradients }>
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

  /** The kinds of modules it works on, for messages; empty when it works on the model as a whole. */
  readonly layerKinds: readonly string[]
  /** The target modules for a model type, where the user names none. */
  defaultTargetModules?(modelType: string): readonly string[] | string | undefined
  /** Chooses the modules by what they are, in the place of names: their paths in the base model. */
  chooseModules?(config: C, model: ModelFacts): string[]
  /** Fills in the options that depend on the model and that the user left open; throws where the model does not suit. */
  complete?(config: C, model: ModelFacts): void
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

  /** Changes what enters the model and what leaves it: soft prompts. Traced like `forward`. */
  enter?(inputs: ModelInputs, context: AdapterContext<C> & { graph: Graph }): Entered
  /** Looks at data before training: gradients, importance. Called once an adapter, by the Trainer or by `prepareAdapter`. */
  prepare?(context: AdapterContext<C>, tools: PreparationTools): Promise<void>
  /** Told of the training steps of the adapter's parameters: rank allocation, random masks. */
  updateHook?(context: AdapterContext<C>): UpdateHook | undefined

  /** The parameters to save under the keys of the file; by default the adapter's own, without the adapter's name in the keys. */
  stateDict?(context: AdapterContext<C>, own: ReadonlyMap<string, Parameter>): Map<string, Parameter>
  /** Makes room for the tensors of a file whose shapes the options alone do not tell. Called before values are placed. */
  beforeLoad?(context: AdapterContext<C>, shapes: ReadonlyMap<string, readonly number[]>): void
  /** A new adapter that is the weighted sum of others; see `addWeightedAdapter`. */
  combine?(context: CombineContext<C>): Promise<void>
}

/** What {@link PeftMethod.combine} is given: the sources, and the new adapter with its first values. */
export interface CombineContext<C extends PeftConfig = PeftConfig> {
  sources: readonly { name: string; weight: number; config: C }[]
  options: Readonly<Record<string, unknown>>
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

/** The types of all registered methods. */
export function peftTypes(): string[] {
  return [...methods.keys()]
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
