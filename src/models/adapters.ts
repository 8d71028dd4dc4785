/** @file The place where adapters are plugged in: what every model offers as `addAdapter`, `loadAdapter` and the like, and who does it. */
import type { Parameter } from '../nn/index.ts'
import type { PreTrainedModel } from './pretrained-model.ts'

/** The options of an adapter: a configuration of the layer of adapters, such as a `LoraConfig`. */
export interface AdapterConfig {
  /** The method, as it stands in the adapter's file: `LORA`. */
  readonly peftType: string
}

/** Options of `addAdapter`. */
export interface AddAdapterOptions {
  /** Draws the adapter's first values (0). */
  seed?: number
}

/** Options of `loadAdapter`. */
export interface LoadModelAdapterOptions {
  /** Whether the adapter can be trained further (false). */
  isTrainable?: boolean
  revision?: string
  /** Whether the prediction head in files of AdapterHub is loaded with the adapter (true). */
  withHead?: boolean
  /** Takes what is odd and does not prevent loading; printed by default. */
  onWarning?: (message: string) => void
}

/** Does what the methods for adapters of every model promise; all work on the given model in place. */
export interface AdapterSupport {
  add(model: PreTrainedModel, config: AdapterConfig, adapterName: string, options: AddAdapterOptions): void
  load(
    model: PreTrainedModel,
    folderOrHubId: string,
    adapterName: string,
    options: LoadModelAdapterOptions,
  ): Promise<void>
  set(model: PreTrainedModel, adapterNames: readonly string[]): void
  setEnabled(model: PreTrainedModel, enabled: boolean): void
  active(model: PreTrainedModel): string[]
  delete(model: PreTrainedModel, adapterNames: readonly string[]): void
  stateDict(model: PreTrainedModel, adapterName: string | undefined): Map<string, Parameter>
  /** Whether the model carries adapters now. */
  isCarriedBy(model: PreTrainedModel): boolean
  /** Writes the active adapters. */
  save(model: PreTrainedModel, folder: string): Promise<void>
}

let registered: AdapterSupport | undefined

/** Makes the methods for adapters of all models work. A second registration replaces the first. */
export function registerAdapterSupport(implementation: AdapterSupport): void {
  registered = implementation
}

/** What was registered. Throws when nothing was. */
export function adapterSupport(): AdapterSupport {
  if (registered) return registered
  throw new Error("adapters: the code that knows adapters is not loaded; import 'peft-ts' or 'peft-ts/peft'")
}

/** Whether a model carries adapters; none does where the code that knows them is not loaded. */
export function carriesAdapters(model: PreTrainedModel): boolean {
  return registered?.isCarriedBy(model) ?? false
}
