/** @file The tasks of the command line: their names there, in PEFT and in the classes of checkpoints. */
import {
  AutoModel,
  type AutoModelClass,
  AutoModelForCausalLM,
  AutoModelForImageClassification,
  AutoModelForMaskedLM,
  AutoModelForQuestionAnswering,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
  AutoModelForTokenClassification,
  type ModelTask,
  type PretrainedConfig,
  registeredModels,
} from '../models/index.ts'
import { taskOfClass } from '../models/task-of-class.ts'
import { UsageError } from './exit.ts'
import { type DescribedTaskOption, TASKS, type TaskOption } from './task-names.ts'

export type { DescribedTaskOption, TaskOption } from './task-names.ts'

/** The tasks that can be trained and evaluated, by PEFT's names. */
export type TrainableTask = Exclude<ModelTask, 'MASKED_LM'>

/** What opens models for a task. */
export const AUTO_CLASSES: Readonly<Record<ModelTask, AutoModelClass>> = {
  FEATURE_EXTRACTION: AutoModel,
  SEQ_CLS: AutoModelForSequenceClassification,
  TOKEN_CLS: AutoModelForTokenClassification,
  QUESTION_ANS: AutoModelForQuestionAnswering,
  CAUSAL_LM: AutoModelForCausalLM,
  MASKED_LM: AutoModelForMaskedLM,
  SEQ_2_SEQ_LM: AutoModelForSeq2SeqLM,
  IMAGE_CLS: AutoModelForImageClassification,
}

/** PEFT's name of a task of the command line. */
export function taskTypeOf(option: TaskOption): TrainableTask {
  return option === 'embedding' ? 'FEATURE_EXTRACTION' : (option.toUpperCase() as TrainableTask)
}

/** The name on the command line of a task. */
export function taskOptionOf(task: TrainableTask): TaskOption {
  return task === 'FEATURE_EXTRACTION' ? 'embedding' : (task.toLowerCase() as TaskOption)
}

/** PEFT's name of a task that a model can be described for. */
export function describedTaskOf(option: DescribedTaskOption): ModelTask {
  return option === 'embedding' ? 'FEATURE_EXTRACTION' : (option.toUpperCase() as ModelTask)
}

/** The task that a checkpoint was made for, as its architecture tells; undefined for a base model. */
export function taskOfArchitecture({ architectures }: PretrainedConfig): ModelTask | undefined {
  return architectures.map(taskOfClass).find(task => task !== undefined)
}

/** Whether a task can be trained and evaluated. */
export function isTrainable(task: string | null | undefined): task is TrainableTask {
  return TASKS.some(option => taskTypeOf(option) === task)
}

/** Whether what a task predicts are classes with names. */
export function hasLabels(task: TrainableTask): boolean {
  return task === 'SEQ_CLS' || task === 'TOKEN_CLS' || task === 'IMAGE_CLS'
}

/** The task of a model that has one alone, such as the bare encoder of images. */
export function onlyTask({ model_type }: PretrainedConfig): TrainableTask | undefined {
  // Every model can be opened without a head.
  const others = TASKS.map(taskTypeOf).filter(task => task !== 'FEATURE_EXTRACTION')
  const tasks = others.filter(task => registeredModels(task).includes(model_type))
  return tasks.length === 1 ? tasks[0] : undefined
}

/** The first task that is known. Throws where none is, with the way out. */
export function requireTask(candidates: readonly (string | null | undefined)[], what: string): TrainableTask {
  const found = candidates.find(isTrainable)
  if (found) return found
  throw new UsageError(`What ${what} is for is not written in its files; say it with --task ${TASKS.join(', ')}`)
}

/** The command that uses a model, with its options for the model. */
export function useCommand(task: TrainableTask, model: string, medium?: 'image' | 'speech'): string {
  if (medium) return `peft predict ${model} --data ${medium === 'image' ? 'image.jpg' : 'recording.wav'}`
  if (task === 'FEATURE_EXTRACTION') return `peft embed ${model} --text "..."`
  if (task === 'QUESTION_ANS') return `peft predict ${model} --data questions.jsonl`
  return hasLabels(task) ? `peft predict ${model} --text "..."` : `peft generate ${model} --prompt "..."`
}
