/** @file Choosing which parameters train. */
import type { Module, Parameter } from '../nn/index.ts'
import { didYouMean } from '../util/nearest.ts'

/** Makes all parameters of a module, and of all below it, stay as they are in training. */
export function freeze(module: Module): void {
  for (const parameter of module.parameters()) parameter.requiresGrad = false
}

/**
 * Makes those parameters trainable for which `predicate` is true, and freezes all others. A tied parameter is asked for
 * once, under its first name. `() => true` is full fine-tuning.
 *
 * @returns the names of those that train
 * @throws when there is none; then nothing was changed
 * @example
 * setTrainable(model, name => name.endsWith('.bias'))
 */
export function setTrainable(module: Module, predicate: (name: string, parameter: Parameter) => boolean): string[] {
  const entries = [...module.namedParameters()].map(([name, parameter]) => ({
    name,
    parameter,
    trains: predicate(name, parameter),
  }))
  const names = entries.filter(({ trains }) => trains).map(({ name }) => name)
  if (names.length === 0) {
    throw new Error(`setTrainable: none of the ${entries.length} parameters was chosen, so there is nothing to train`)
  }
  for (const { parameter, trains } of entries) parameter.requiresGrad = trains
  return names
}

/**
 * Trains the head alone: everything that does not stand under `baseModelPrefix`, such as `classifier` beside `bert`.
 *
 * @param also further modules to train, by path, such as `bert.pooler` that a checkpoint lacks
 * @returns the names of the parameters that train
 * @throws when the model has no head of its own (a base model, or a language model whose head is its embedding), or no
 *   such module
 */
export function trainHead(
  model: Module & { readonly baseModelPrefix: string },
  also: readonly string[] = [],
): string[] {
  const paths = [...model.namedModules()].map(([path]) => path).filter(path => path !== '')
  for (const path of also) {
    if (!paths.includes(path)) throw new Error(`trainHead: there is no module "${path}".${didYouMean(path, paths)}`)
  }
  const within = (name: string, path: string) => name.startsWith(`${path}.`)
  const { baseModelPrefix } = model
  const chosen = (name: string) =>
    (paths.includes(baseModelPrefix) && !within(name, baseModelPrefix)) || also.some(path => within(name, path))
  if (![...model.namedParameters()].some(([name]) => chosen(name))) {
    throw new Error(
      `trainHead: the model has no parameters of its own beside "${baseModelPrefix}"; open it with a head ` +
        '(AutoModelForSequenceClassification), or choose parameters with setTrainable',
    )
  }
  return setTrainable(model, chosen)
}
