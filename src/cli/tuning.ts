/** @file `--method`: which parameters of a model are trained. */
import type { PreTrainedModel } from '../models/index.ts'
import type { Parameter } from '../nn/index.ts'
import {
  formatTrainableParameters,
  getPeftMethod,
  getPeftModel,
  type ParameterCounts,
  PeftModel,
  TaskType,
} from '../peft/index.ts'
import { setTrainable, trainHead } from '../training/index.ts'
import { didYouMean } from '../util/nearest.ts'
import { methodConfig } from './assignments.ts'
import { UsageError } from './exit.ts'
import { hears } from './media.ts'
import { namedMethods } from './methods.ts'

/** Methods that change the model's own parameters instead of adding some. */
const WHOLE = ['full', 'head']

/** Learning rates where every weight, or a new head alone, is trained; a method knows its own. */
const LEARNING_RATES: Readonly<Record<string, number>> = { full: 5e-5, head: 1e-3 }

/** The values of `--method`. */
export function methodNames(): string[] {
  return [...namedMethods().keys(), ...WHOLE]
}

/** The learning rate where none is given. */
export function defaultLearningRate(method: string): number {
  const type = namedMethods().get(method)?.peftType
  return LEARNING_RATES[method] ?? (type ? getPeftMethod(type).about.recommended.learningRate : 2e-4)
}

/** Throws for a method that does not exist, and for options that it does not have. */
export function checkMethod(method: string, assignments: readonly string[]): void {
  const names = methodNames()
  if (!names.includes(method)) {
    throw new UsageError(`--method ${method} is not known.${didYouMean(method, names)} Known: ${names.join(', ')}.`)
  }
  if (!WHOLE.includes(method)) methodConfig(method, null, assignments)
  else if (assignments.length) throw new UsageError(`--set belongs to adapters; --method ${method} has no options`)
}

/** Quantised weights are frozen: only what stands beside them trains. */
export function refuseQuantized(method: string, isQuantized: boolean): void {
  if (method !== 'full' || !isQuantized) return
  throw new UsageError('--method full trains every weight, and quantised ones cannot; take an adapter, such as lora')
}

/** A model of which a part is trained. */
export type TunedModel = PreTrainedModel | PeftModel<PreTrainedModel>

/** Prepares a model for training with a method. */
export function tune(model: PreTrainedModel, method: string, assignments: readonly string[], seed: number): TunedModel {
  if (method === 'full') {
    refuseQuantized(method, model.isQuantized)
    setTrainable(model, () => true)
  } else if (method === 'head') trainHead(model, modulesOf(model.missingParameters))
  else {
    return getPeftModel(model, methodConfig(method, taskTypeOrNull(model), assignments), { seed })
  }
  return model
}

/**
 * PEFT's name of what a model is for; it has none for masked language models and images, and Python's class for
 * `SEQ_2_SEQ_LM` would hand models of speech texts.
 */
function taskTypeOrNull({ task, config }: PreTrainedModel): TaskType | null {
  if (hears(config)) return null
  return task in TaskType ? (task as TaskType) : null
}

/** The modules that hold the parameters `names`. */
function modulesOf(names: readonly string[]): string[] {
  return [...new Set(names.map(name => name.slice(0, name.lastIndexOf('.'))))]
}

/** How many parameters train, and how many there are, with `others` that stand around the model. */
export function countParameters(model: TunedModel, others: Iterable<[string, Parameter]> = []): ParameterCounts {
  const around = [...others].map(([, parameter]) => parameter)
  const own = model instanceof PeftModel ? model.getNbTrainableParameters() : counted(model.parameters())
  const beside = counted(around)
  return { trainable: own.trainable + beside.trainable, all: own.all + beside.all }
}

function counted(parameters: readonly Parameter[]): ParameterCounts {
  const total = (of: typeof parameters) => of.reduce((sum, { size }) => sum + size, 0)
  return { trainable: total(parameters.filter(({ requiresGrad }) => requiresGrad)), all: total(parameters) }
}

/** PEFT's line on the parameters that train. */
export function trainableLine(model: TunedModel): string {
  return formatTrainableParameters(countParameters(model))
}
