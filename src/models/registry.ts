/** @file Which class computes a configuration: by architecture and by task. */
import { didYouMean } from '../util/nearest.ts'
import type { ModelTask } from './inputs.ts'
import type { ModelClass } from './pretrained-model.ts'

/** The classes of one architecture. */
export type ModelClasses = Readonly<Partial<Record<ModelTask, ModelClass>>>

const architectures = new Map<string, ModelClasses>()

/**
 * Makes an architecture known to the Auto classes. A second registration adds tasks and replaces those it names again.
 *
 * @example
 * registerModel('toy', { CAUSAL_LM: ToyForCausalLM })
 */
export function registerModel(modelType: string, classes: ModelClasses): void {
  architectures.set(modelType, { ...architectures.get(modelType), ...classes })
}

/** The `model_type`s that have a class for `task` (for any task by default). */
export function registeredModels(task?: ModelTask): string[] {
  return [...architectures]
    .filter(([, classes]) => !task || classes[task])
    .map(([type]) => type)
    .sort()
}

/** The class for a configuration's `model_type` and a task. Throws when there is none, listing those there are. */
export function findModelClass(modelType: string, task: ModelTask): ModelClass {
  const classes = architectures.get(modelType)
  const found = classes?.[task]
  if (found) return found
  const known = registeredModels(task)
  throw new Error(
    classes
      ? `The architecture "${modelType}" has no model for ${task}, only for ${Object.keys(classes).join(', ')}. ` +
          `Architectures with one: ${known.join(', ')}.`
      : `The architecture "${modelType}" is not known for ${task}. Known: ${known.join(', ')}.` +
          `${didYouMean(modelType, known)} One of your own is added with registerModel.`,
  )
}
