/** @file What a method is: the interface that built-in methods and users' own implement, and the registry. */
import type { Module } from '../nn/index.ts'
import { didYouMean } from '../util/nearest.ts'
import type { Random } from '../util/random.ts'
import type { PeftConfig } from './config.ts'
import type { AdapterState, TunerLayer } from './tuner-layer.ts'

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
}

/** Options that choose the modules a layer method works on. */
export interface TargetOptions {
  targetModules?: readonly string[] | string | null
  excludeModules?: readonly string[] | string | null
  layersToTransform?: readonly number[] | number | null
  layersPattern?: readonly string[] | string | null
  modulesToSave?: readonly string[] | null
}

/** A method of parameter-efficient fine-tuning. */
export interface PeftMethod<C extends PeftConfig & TargetOptions = PeftConfig & TargetOptions> {
  /** The name that stands in `adapter_config.json` as `peft_type`. */
  readonly peftType: string
  /** The configuration in a file's JSON. */
  configFromJson(json: unknown, label: string): C
  /** The target modules for a model type, where the user names none. */
  defaultTargetModules(modelType: string): readonly string[] | string | undefined
  /** Fills in the options that depend on the model and that the user left open. */
  complete?(config: C, modelType: string): void
  /** The kinds of modules it works on, for messages. */
  readonly layerKinds: readonly string[]
  /** Puts an adapter on a module: the layer that takes its place, or undefined when it cannot work there. */
  wrap(context: WrapContext<C>): TunerLayer | undefined
  /** Checks what can only be checked on a model; throws with the way out. */
  validate?(config: C, targets: readonly string[]): void
  /** What stands in the names of its parameters: `lora_`. */
  readonly prefix: string
}

const methods = new Map<string, PeftMethod>()

/** Makes a method known, so that its files can be loaded. Throws when the name is taken. */
export function registerPeftMethod<C extends PeftConfig & TargetOptions>(method: PeftMethod<C>): void {
  if (methods.has(method.peftType)) throw new Error(`The PEFT method "${method.peftType}" is already registered`)
  methods.set(method.peftType, method as unknown as PeftMethod)
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
