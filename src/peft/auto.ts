/** @file The Auto classes of models with adapters: base model and adapter, from the adapter's folder alone. */
import {
  AutoConfig,
  AutoModel,
  type AutoModelClass,
  AutoModelForCausalLM,
  AutoModelForQuestionAnswering,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
  AutoModelForTokenClassification,
  type FromPretrainedOptions,
  type PreTrainedModel,
  type PretrainedConfig,
} from '../models/index.ts'
import { taskOfClass } from '../models/task-of-class.ts'
import type { PeftConfig } from './config.ts'
import { type LoadAdapterOptions, PeftModel } from './model.ts'
import { TaskType } from './task-type.ts'

/** Options of `AutoPeftModel.fromPretrained`: those for the base model, and those for the adapter. */
export interface AutoPeftModelOptions extends LoadAdapterOptions, Omit<FromPretrainedOptions, 'onWarning'> {
  adapterName?: string
  /** The folder or hub id of the base model, in the place of the one that the adapter's file names. */
  baseModel?: string
}

/** What every Auto class of models with adapters offers. */
export interface AutoPeftModelClass {
  /**
   * Opens the adapter in a folder or of a hub id together with the base model that its `adapter_config.json` names: a
   * folder as it is named there, or beside the adapter, or a hub id. `revision` is the adapter's; the base's stands in the
   * adapter's file. A classifier gets as many classes as the head that is saved with the adapter.
   *
   * @throws when there is no adapter, it is for another task, or its base cannot be found
   */
  fromPretrained(folderOrHubId: string, options?: AutoPeftModelOptions): Promise<PeftModel<PreTrainedModel>>
}

const TASKS: Readonly<Record<TaskType, { name: string; base: AutoModelClass }>> = {
  SEQ_CLS: { name: 'AutoPeftModelForSequenceClassification', base: AutoModelForSequenceClassification },
  SEQ_2_SEQ_LM: { name: 'AutoPeftModelForSeq2SeqLM', base: AutoModelForSeq2SeqLM },
  CAUSAL_LM: { name: 'AutoPeftModelForCausalLM', base: AutoModelForCausalLM },
  TOKEN_CLS: { name: 'AutoPeftModelForTokenClassification', base: AutoModelForTokenClassification },
  QUESTION_ANS: { name: 'AutoPeftModelForQuestionAnswering', base: AutoModelForQuestionAnswering },
  FEATURE_EXTRACTION: { name: 'AutoPeftModelForFeatureExtraction', base: AutoModel },
}

function autoClass(task?: TaskType): AutoPeftModelClass {
  return { fromPretrained: (folderOrHubId, options = {}) => open(folderOrHubId, task, options) }
}

async function open(
  adapter: string,
  asked: TaskType | undefined,
  options: AutoPeftModelOptions,
): Promise<PeftModel<PreTrainedModel>> {
  const { adapterName = 'default', baseModel, isTrainable, withHead, revision, onWarning, ...forBase } = options
  const warn = onWarning ?? (message => console.warn(message))
  const { resolveModelFolder } = await import('../models/hub.ts')
  const { loadPeftConfig } = await import('./load.ts')
  const { cacheDir, localFilesOnly, token, hubUrl, fetch, onProgress } = forBase
  const where = { cacheDir, localFilesOnly, token, hubUrl, fetch, onProgress }
  const adapterFolder = await resolveModelFolder(adapter, { ...where, revision })
  const peftConfig = await loadPeftConfig(adapterFolder)
  if (asked) refuseOtherTask(adapter, peftConfig, asked)

  const name = baseModel ?? peftConfig.baseModelNameOrPath
  const baseFolder = await findBase(adapter, adapterFolder, name, given =>
    resolveModelFolder(given, { ...where, revision: baseModel ? undefined : (peftConfig.revision ?? undefined) }),
  )
  const config = forBase.config ?? (await AutoConfig.fromPretrained(baseFolder))
  const task = asked ?? taskOf(adapter, peftConfig, config)
  const warnings: string[] = []
  const base = await TASKS[task].base.fromPretrained(baseFolder, {
    ...forBase,
    ...(await labelsOf(adapterFolder, task, config, options)),
    config,
    onWarning: message => warnings.push(message),
  })
  base.nameOrPath = name!
  const peft = await PeftModel.fromPretrained(base, adapterFolder, { adapterName, isTrainable, withHead, onWarning })
  tellMissing(peft, adapterName, warnings, warn)
  return peft
}

function refuseOtherTask(adapter: string, { taskType }: PeftConfig, asked: TaskType): void {
  if (taskType === null || taskType === asked) return
  throw new Error(
    `${TASKS[asked].name}: the adapter ${adapter} is for ${taskType}; open it with ${TASKS[taskType].name} or AutoPeftModel`,
  )
}

/** The task of an adapter: its own, else that of the class it was made with, else that of its base. */
function taskOf(
  adapter: string,
  { taskType, autoMapping }: PeftConfig,
  { architectures, label }: PretrainedConfig,
): TaskType {
  if (taskType) return taskType
  const made = (autoMapping as { base_model_class?: unknown } | null)?.base_model_class
  const classes = typeof made === 'string' ? [made] : architectures
  const task = classes.map(name => taskOfClass(name) ?? (name.endsWith('Model') ? 'FEATURE_EXTRACTION' : undefined))[0]
  if (task && task in TaskType) return task as TaskType
  const names = Object.values(TASKS).map(({ name }) => name)
  throw new Error(
    `AutoPeftModel: what the adapter ${adapter} is for stands neither in its adapter_config.json (task_type, auto_mapping) ` +
      `nor in ${label} (architectures: ${architectures.join(', ') || 'none'}); open it with one of ${names.join(', ')}`,
  )
}

/** The local folder of the base model: where its name leads, else beside the adapter, else from the hub. */
async function findBase(
  adapter: string,
  adapterFolder: string,
  name: string | null,
  resolve: (name: string) => Promise<string>,
): Promise<string> {
  if (name === null || name === '') {
    throw new Error(
      `The adapter ${adapter} does not name its base model (base_model_name_or_path in adapter_config.json); give the option baseModel`,
    )
  }
  const { existsSync } = await import('node:fs')
  const { isAbsolute, join } = await import('node:path')
  const beside = join(adapterFolder, name)
  const isBeside = !isAbsolute(name) && !existsSync(name) && existsSync(join(beside, 'config.json'))
  try {
    return await resolve(isBeside ? beside : name)
  } catch (cause) {
    throw new Error(
      `The base model of the adapter ${adapter} is not to be had: ${(cause as Error).message} Say where it is with the option baseModel.`,
      { cause },
    )
  }
}

/** The number of classes of the saved head, where the options say nothing and the base has another number. */
async function labelsOf(
  adapterFolder: string,
  task: TaskType,
  config: PretrainedConfig,
  { numLabels, id2label }: AutoPeftModelOptions,
): Promise<{ numLabels?: number }> {
  if (numLabels !== undefined || id2label !== undefined || (task !== 'SEQ_CLS' && task !== 'TOKEN_CLS')) return {}
  const { savedHeadRows } = await import('./head-rows.ts')
  const rows = await savedHeadRows(adapterFolder)
  return rows === undefined || rows === config.num_labels ? {} : { numLabels: rows }
}

/** Passes warnings on; of what the base lacks only what the adapter lacks too. */
function tellMissing(
  peft: PeftModel<PreTrainedModel>,
  adapterName: string,
  warnings: readonly string[],
  warn: (message: string) => void,
): void {
  const { missingParameters, nameOrPath } = peft.getBaseModel()
  const [first] = missingParameters
  for (const warning of warnings) if (first === undefined || !warning.includes(first)) warn(warning)
  const brought = peft.stateDict(adapterName)
  const untrained = missingParameters.filter(name => !brought.has(`base_model.model.${name}`))
  if (untrained.length === 0) return
  warn(
    `Neither ${nameOrPath} nor the adapter holds ${untrained.join(', ')}: they were drawn from a seed. Train the model before you use it.`,
  )
}

/**
 * Models with adapters of any task, which the adapter's file tells.
 *
 * @example
 * const peft = await AutoPeftModel.fromPretrained('tickets-lora')
 */
export const AutoPeftModel = autoClass()
/** Classifiers of sequences with adapters. */
export const AutoPeftModelForSequenceClassification = autoClass('SEQ_CLS')
/** Decoders that predict the next token, with adapters. */
export const AutoPeftModelForCausalLM = autoClass('CAUSAL_LM')
/** Encoders with decoders, with adapters. */
export const AutoPeftModelForSeq2SeqLM = autoClass('SEQ_2_SEQ_LM')
/** Classifiers of each token with adapters. */
export const AutoPeftModelForTokenClassification = autoClass('TOKEN_CLS')
/** Models that find answers in texts, with adapters. */
export const AutoPeftModelForQuestionAnswering = autoClass('QUESTION_ANS')
/** Base models with adapters, which give hidden states. */
export const AutoPeftModelForFeatureExtraction = autoClass('FEATURE_EXTRACTION')
