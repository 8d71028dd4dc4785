/** @file Which modules of a model an adapter works on. */
import { Conv1D, Linear, type Module } from '../nn/index.ts'
import { didYouMean } from '../util/nearest.ts'
import { baseModules, unwrapped } from './adapted-tree.ts'
import type { ModelFacts, TargetOptions } from './method.ts'
import { fullMatch } from './pattern.ts'

/** The shorthand for every dense layer but the output layer. */
export const ALL_LINEAR = 'all-linear'

/** Whether a name in a list of targets means the module at `path`. */
export const endsWithName = (path: string, name: string): boolean => path === name || path.endsWith(`.${name}`)

/** Options for {@link resolveTargets}. */
export interface ResolveTargetOptions {
  /** The modules that must not be chosen by `all-linear`: the output layer, the classifier. */
  outputModules: readonly string[]
  /** Whether a name in a list that matches nothing is an error; a file of Python's may hold such names. */
  strict: boolean
}

/**
 * The paths of the modules that `options` choose in `model`.
 *
 * @param targets a list of names (the end of a path), a regular expression for whole paths, or `all-linear`
 * @throws when a name or expression matches nothing, with the nearest names
 */
export function resolveTargets(
  model: Module,
  targets: readonly string[] | string,
  options: TargetOptions,
  { outputModules, strict }: ResolveTargetOptions,
): string[] {
  const modules = new Map([...baseModules(model)].map(({ path, module }) => [path, unwrapped(module)]))
  const paths = [...modules.keys()].filter(path => path !== '')
  const isExcluded = exclusion(options)
  let chosen: string[]
  if (typeof targets === 'string' && targets.toLowerCase() === ALL_LINEAR) {
    const isDense = (path: string) => {
      const module = modules.get(path)
      return module instanceof Linear || module instanceof Conv1D
    }
    chosen = paths.filter(path => isDense(path) && !outputModules.includes(path))
  } else if (typeof targets === 'string') {
    const pattern = fullMatch(targets, 'targetModules')
    chosen = paths.filter(path => pattern.test(path))
    if (chosen.length === 0)
      throw new Error(`targetModules: the expression "${targets}" matches no module. ${examples(paths)}`)
  } else {
    for (const target of targets) if (strict) requireMatch(target, paths)
    chosen = paths.filter(path => targets.some(target => endsWithName(path, target)) && isInLayers(path, options))
    if (chosen.length === 0) {
      const layers =
        options.layersToTransform == null
          ? ''
          : ` within layersToTransform ${JSON.stringify(options.layersToTransform)}`
      throw new Error(`targetModules: none of ${JSON.stringify(targets)} matches a module${layers}. ${examples(paths)}`)
    }
  }
  const kept = chosen.filter(path => !isExcluded(path))
  if (kept.length === 0) {
    throw new Error(
      `All ${chosen.length} target modules are excluded by excludeModules or modulesToSave: ${chosen.slice(0, 5).join(', ')}`,
    )
  }
  return kept
}

/** Says that nothing is chosen by itself, and what there is to choose from. */
export function refuseNoDefault(method: string, { modelType, tree }: Pick<ModelFacts, 'modelType' | 'tree'>): never {
  const modules = [...baseModules(tree)].map(({ path, module }) => ({ path, module: unwrapped(module) }))
  const dense = modules.filter(({ module }) => module instanceof Linear || module instanceof Conv1D)
  const names = namesOf(dense.map(({ path }) => path))
  const some = names.slice(0, 2).map(name => `"${name}"`)
  throw new Error(
    `${method} has no default target modules for the model type "${modelType}"; name them with targetModules. ` +
      (names.length
        ? `The dense layers of this model are called ${names.join(', ')}: take some, such as [${some.join(', ')}], or ` +
          '"all-linear" for all but the output layer.'
        : `${examples(modules.map(({ path }) => path).filter(path => path !== ''))}`),
  )
}

function requireMatch(target: string, paths: readonly string[]): void {
  if (paths.some(path => endsWithName(path, target))) return
  const names = target.includes('.') ? paths : paths.map(path => path.slice(path.lastIndexOf('.') + 1))
  const known = names.filter(name => !/^\d+$/.test(name))
  throw new Error(`targetModules: no module is called "${target}".${didYouMean(target, known)} ${examples(paths)}`)
}

/** The last parts of paths, each once; numbers are no names. */
function namesOf(paths: readonly string[]): string[] {
  return [...new Set(paths.map(path => path.slice(path.lastIndexOf('.') + 1)))].filter(name => !/^\d+$/.test(name))
}

function examples(paths: readonly string[]): string {
  const names = namesOf(paths)
  return `The modules of this model are called ${names.slice(0, 24).join(', ')}${names.length > 24 ? ', …' : ''}.`
}

function exclusion({ excludeModules, modulesToSave }: TargetOptions): (path: string) => boolean {
  const pattern = typeof excludeModules === 'string' ? fullMatch(excludeModules, 'excludeModules') : undefined
  const names = typeof excludeModules === 'string' ? [] : (excludeModules ?? [])
  // What is trained as a whole must not carry an adapter too.
  const saved = (modulesToSave ?? []).map(name => fullMatch(`(?:.*\\.)?${name}(?:\\..*)?`, 'modulesToSave'))
  return path =>
    Boolean(pattern?.test(path)) ||
    names.some(name => endsWithName(path, name)) ||
    saved.some(expression => expression.test(path))
}

/** Whether a path lies in one of the layers that `layersToTransform` names: the first number in it counts. */
function isInLayers(path: string, { layersToTransform, layersPattern }: TargetOptions): boolean {
  if (layersToTransform == null || (Array.isArray(layersToTransform) && layersToTransform.length === 0)) return true
  const patterns = typeof layersPattern === 'string' ? [layersPattern] : (layersPattern ?? [])
  const expressions = patterns.length
    ? patterns.map(pattern => new RegExp(`(?:^|.*?\\.)${pattern}\\.(\\d+)\\.`))
    : [/(?:^|\.)[^.]*\.(\d+)\./]
  for (const expression of expressions) {
    const match = expression.exec(path)
    if (match) return [layersToTransform].flat().includes(Number(match[1]))
  }
  return false
}
