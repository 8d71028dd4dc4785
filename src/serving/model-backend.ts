/** @file A model with its adapters as a backend. */
import type { Tokenizer } from '../data/index.ts'
import { generationDefaults, specialTokens } from '../generation/model-files.ts'
import { limitsOf } from '../generation/options.ts'
import type { GenerationDefaults } from '../models/generator.ts'
import { BASE_ROW, PeftModel } from '../peft/index.ts'
import type { CompileOptions, Engine } from '../runtime/index.ts'
import { didYouMean } from '../util/nearest.ts'
import type { Load, RowEvent, RowRequest, RowSettings, ServedModel, TextBackend } from './backend.ts'
import { rowChooser } from './chooser.ts'
import { now } from './ids.ts'
import { findLanes, type GeneratingModel } from './lanes.ts'
import { Scheduler } from './scheduler.ts'

/** What is served, and how. */
export interface ModelBackendOptions extends Omit<CompileOptions, 'profile'> {
  /** The base's id in requests. */
  id: string
  /** The adapters' ids in requests, each with its name in the model; by default all, by their names. */
  adapters?: Readonly<Record<string, string>>
  engine?: Engine
  /** The most answers that are written at once (32). */
  maxBatch?: number
  /** The most answers that wait (256). */
  maxQueue?: number
  /** How many positions prompts that are read together may have (8192). */
  maxPrefill?: number
  /** How many positions of prompts are read between two steps of the others (256). */
  prefillChunk?: number
  /** The most tokens of prompt and answer together; by default as many as the model was made for. */
  maxContext?: number
}

/** Answers with a model; close it when it is not needed any more. */
export interface ModelBackend extends TextBackend {
  /** The ids of adapters that are computed in batches of their own. */
  readonly exclusive: readonly string[]
  /**
   * Takes no more requests.
   *
   * @param grace how long those that there are may take to end by themselves, in milliseconds (0)
   */
  close(grace?: number): Promise<void>
}

/**
 * Opens a model for serving. From then on its active adapters belong to the backend.
 *
 * @throws when the model is no decoder, or an id is taken twice or names no adapter
 * @example
 * const backend = await openBackend(peft, tokenizer, { id: 'smollm2' })
 */
export async function openBackend(
  model: GeneratingModel,
  tokenizer: Tokenizer,
  options: ModelBackendOptions,
): Promise<ModelBackend> {
  const { maxBatch = 32, maxQueue = 256, maxPrefill = 8192, maxContext, engine, mode, threads, keepPacked } = options
  const { prefillChunk = 256 } = options
  if (!Number.isSafeInteger(prefillChunk) || prefillChunk < 1) {
    throw new Error(`prefillChunk is ${prefillChunk}, expected a whole number of positions, 1 at least`)
  }
  if (model.task !== 'CAUSAL_LM') {
    throw new Error(
      `Only decoders can be served, this model is for ${model.task ?? 'a task of its own'}; open it with AutoModelForCausalLM`,
    )
  }
  const names = namesOf(model, options)
  const lanes = findLanes(model)
  const nameOf = ({ model: id }: Pick<RowRequest, 'model'>) => names.get(id)!
  const limits = limitsOf(model.config)
  const created = now()
  const models = [...names].map(
    ([id, name]): ServedModel => ({
      id,
      parent: name === BASE_ROW ? null : options.id,
      created,
      contextLength: Math.min(limits.maxPositions - lanes.virtualTokens(name), maxContext ?? Number.POSITIVE_INFINITY),
    }),
  )
  const defaults = await generationDefaults(model, {})
  const tokens = specialTokens(model, { ...defaults, vocabSize: limits.vocabSize })
  const scheduler = new Scheduler({
    ...{ maxBatch, maxQueue, maxPrefill },
    laneOf: id => lanes.laneOf(names.get(id)!),
    open: lane => lanes.open(lane, nameOf, { engine, mode, threads, keepPacked, prefillChunk }),
    choose: row => rowChooser(row, { limits, tokens, tokenizer, defaults }),
  })
  await scheduler.warm(lanes.laneOf(BASE_ROW))
  return {
    models,
    tokenizer,
    vocabSize: limits.vocabSize,
    longestToken: longestToken(tokenizer),
    defaults: samplingOf(defaults),
    exclusive: [...names].flatMap(([id, name]) => (lanes.exclusive.includes(name) ? [id] : [])),
    get load(): Load {
      return scheduler.load
    },
    submit: (rows, signal): AsyncIterableIterator<RowEvent> => scheduler.submit(rows, signal),
    close: grace => scheduler.close(grace),
  }
}

/** Each id with the name of its adapter, the base first. */
function namesOf(model: GeneratingModel, { id, adapters }: ModelBackendOptions): Map<string, string> {
  const loaded = model instanceof PeftModel ? model.adapterNames() : []
  const given = adapters ?? Object.fromEntries(loaded.map(name => [name, name]))
  for (const [own, name] of Object.entries(given)) {
    if (own === id) throw new Error(`An adapter and the base cannot both be served as "${id}"; give one another name`)
    if (loaded.includes(name)) continue
    throw new Error(
      `"${own}" stands for the adapter "${name}", which is not loaded.${didYouMean(name, loaded)} Loaded: ${loaded.join(', ') || 'none'}.`,
    )
  }
  return new Map([[id, BASE_ROW], ...Object.entries(given)])
}

function longestToken(tokenizer: Tokenizer): number {
  let longest = 1
  for (let id = 0; id < tokenizer.vocabSize; id++) longest = Math.max(longest, tokenizer.idToToken(id)?.length ?? 0)
  return longest
}

/** How the model's authors would have it draw tokens. */
function samplingOf({ temperature, topK, topP, minP, repetitionPenalty }: GenerationDefaults): Partial<RowSettings> {
  const found = { temperature, topK, topP, minP, repetitionPenalty }
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined))
}
