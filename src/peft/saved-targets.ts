/** @file The target modules that an adapter's file names. */
import { baseModules } from './adapted-tree.ts'
import type { AnyPeftConfig, PeftModel } from './model.ts'
import { ALL_LINEAR, endsWithName } from './targets.ts'

/**
 * The configuration of an adapter on `targets` as it is saved. What `all-linear` chose is written out, as PEFT does: read in Python the
 * shorthand would be resolved anew, and there also means the experts of a mixture.
 */
export function savedConfig<C extends AnyPeftConfig>(model: PeftModel, config: C, targets: readonly string[]): C {
  const { targetModules } = config
  if (typeof targetModules !== 'string' || targetModules.toLowerCase() !== ALL_LINEAR) return config
  const names = [...new Set(targets.map(path => path.slice(path.lastIndexOf('.') + 1)))]
  const meant = [...baseModules(model.model)].filter(({ path }) => names.some(name => endsWithName(path, name)))
  return config.with({ targetModules: meant.length === targets.length ? names : [...targets] }) as C
}
