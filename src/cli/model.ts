/** @file Finding and opening models, adapters and tokenizers: one way for all commands. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { AutoTokenizer, type Tokenizer } from '../data/index.ts'
import { resolveModelFolder } from '../models/hub.ts'
import { AutoConfig, type PreTrainedModel, type PretrainedConfig } from '../models/index.ts'
import { savedHeadRows } from '../peft/head-rows.ts'
import { loadPeftConfig, PeftModel } from '../peft/index.ts'
import type { QuantizeName } from '../quantization/index.ts'
import { UsageError } from './exit.ts'
import { formatBytes } from './format.ts'
import type { Output } from './output.ts'
import { startProgress } from './progress.ts'
import { readRecord, type TrainingRecord } from './record.ts'
import {
  AUTO_CLASSES,
  onlyTask,
  requireTask,
  type TaskOption,
  type TrainableTask,
  taskOfArchitecture,
  taskTypeOf,
} from './task.ts'

/** What names a model on the command line. */
export interface ModelOptions {
  model: string
  adapter?: string
  task?: TaskOption
  quantize?: QuantizeName
}

/** A model whose files were found, and what they say about it. */
export interface LocatedModel {
  /** The model as it was named: a folder or a hub id. */
  name: string
  folder: string
  adapterName: string | undefined
  adapterFolder: string | undefined
  config: PretrainedConfig
  /** How the base model is quantised when it is opened. */
  quantize: QuantizeName | undefined
  task: TrainableTask
  /** How it, or the adapter, was trained here. */
  record: TrainingRecord | undefined
}

/** The local folder of a model or adapter; a hub id is fetched, with a bar. */
export async function locate(idOrPath: string, output: Output): Promise<string> {
  let bar: ReturnType<typeof startProgress> | undefined
  try {
    return await resolveModelFolder(idOrPath, {
      onProgress: ({ loaded, total, file }) => {
        bar ??= startProgress(output, { total, unit: 'bytes' })
        bar.update(loaded, `${file} (${formatBytes(total)} in all)`)
      },
    })
  } finally {
    bar?.stop()
  }
}

/**
 * Finds a model and its adapter, and reads their configurations. No weights are read.
 *
 * @param otherwise the task where neither the options nor the files tell it; by default that is an error
 */
export async function locateModel(
  options: ModelOptions,
  output: Output,
  otherwise?: TrainableTask,
): Promise<LocatedModel> {
  const { model: name, adapter: adapterName } = options
  const folder = await locate(name, output)
  refuseAdapterAsModel(name, folder)
  const adapterFolder = adapterName === undefined ? undefined : await locate(adapterName, output)
  const config = await AutoConfig.fromPretrained(folder)
  const record = await readRecord(adapterFolder ?? folder)
  const peftTask = adapterFolder && (await loadPeftConfig(adapterFolder)).taskType
  const task = requireTask(
    [
      options.task && taskTypeOf(options.task),
      record?.task,
      peftTask,
      existsSync(join(folder, 'modules.json')) ? 'FEATURE_EXTRACTION' : undefined,
      taskOfArchitecture(config),
      onlyTask(config),
      otherwise,
    ],
    adapterName ?? name,
  )
  return { name, folder, adapterName, adapterFolder, config, quantize: options.quantize, task, record }
}

function refuseAdapterAsModel(name: string, folder: string): void {
  if (existsSync(join(folder, 'config.json')) || !existsSync(join(folder, 'adapter_config.json'))) return
  throw new UsageError(`${name} holds an adapter, not a model; give its base model with --model, and --adapter ${name}`)
}

/** What a model is opened with. */
export interface OpenOptions {
  /** The names of a classifier's classes. */
  labels?: readonly string[]
  seed?: number
  ignoreMismatchedSizes?: boolean
}

/** Opens the base model; its values stay in their files. */
export async function openBaseModel(
  { name, folder, config, task, quantize }: LocatedModel,
  { labels, seed, ignoreMismatchedSizes }: OpenOptions,
  output: Output,
): Promise<PreTrainedModel> {
  const warnings: string[] = []
  const model = await AUTO_CLASSES[task].fromPretrained(folder, {
    config,
    id2label: labels,
    seed,
    ignoreMismatchedSizes,
    quantize,
    onWarning: message => warnings.push(message),
  })
  model.nameOrPath = name
  // Which parameters are new is for the command to tell: with an adapter they may come from there.
  const [missing] = model.missingParameters
  for (const warning of warnings) if (missing === undefined || !warning.includes(missing)) output.note(warning)
  return model
}

/** Opens a model with its adapter, or alone where there is none, for anything but training. */
export async function openModel(
  located: LocatedModel,
  options: OpenOptions,
  output: Output,
): Promise<PreTrainedModel | PeftModel<PreTrainedModel>> {
  const base = await openBaseModel(located, options, output)
  const { adapterFolder } = located
  const model = adapterFolder
    ? await PeftModel.fromPretrained(base, adapterFolder, { onWarning: message => output.warn(message) })
    : base
  const brought = model instanceof PeftModel ? new Set(model.stateDict().keys()) : new Set<string>()
  const untrained = base.missingParameters.filter(name => !brought.has(`base_model.model.${name}`))
  if (untrained.length) {
    output.warn(
      `${located.name}${located.adapterName ? ` and ${located.adapterName}` : ''} hold no values for ` +
        `${untrained.join(', ')}: they are random, and so is what the model says. Train it first, or give its --adapter.`,
    )
  }
  return model
}

/** The tokenizer of the model, or else of the adapter. Throws where neither has one. */
export async function openTokenizer({ folder, adapterFolder }: LocatedModel): Promise<Tokenizer> {
  const own = [folder, adapterFolder].find(path => path !== undefined && hasTokenizer(path))
  return AutoTokenizer.fromPretrained(own ?? folder)
}

/** Whether a folder holds a tokenizer that can be read. */
export function hasTokenizer(folder: string): boolean {
  return existsSync(join(folder, 'tokenizer.json'))
}

/** The names of a classifier's classes: as given, as recorded in training, or as many as the trained head has. */
export async function classNamesOf(located: LocatedModel, given: readonly string[] | undefined): Promise<string[]> {
  const { config, record, adapterFolder } = located
  const own = Object.values(config.id2label)
  const count = adapterFolder === undefined ? undefined : await savedHeadRows(adapterFolder)
  const names = given ?? record?.labels ?? (count === undefined || count === own.length ? own : numbered(count))
  if (count !== undefined && names.length !== count) {
    throw new UsageError(
      `--labels names ${names.length} classes (${names.join(', ')}), and the adapter's head has ${count}; name them all, in its order`,
    )
  }
  return [...names]
}

function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `LABEL_${i}`)
}
