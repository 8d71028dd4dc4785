/** @file The parts of a union, each with its method and with what is its own of an adapter. */
import type { AdapterContext, ModelFacts, PeftMethod } from '../../method.ts'
import { getPeftMethod } from '../../method.ts'
import type { UnionConfig, UnionPart } from './config.ts'

/** A part with its method. */
export interface Part {
  config: UnionPart
  method: PeftMethod
}

/** The parts of a union. */
export function partsOf({ configs }: UnionConfig): Part[] {
  return configs.map(config => ({ config, method: getPeftMethod(config.peftType) }))
}

/** The paths of the modules that a part works on. */
export function targetsOf({ config, method }: Part, model: ModelFacts): string[] {
  return method.chooseModules!(config, model)
}

/** The parts of a union by the paths of the modules that they work on. Throws where two parts want the same module. */
export function partsByPath(config: UnionConfig, model: ModelFacts): Map<string, Part> {
  const byPath = new Map<string, Part>()
  for (const part of partsOf(config)) {
    for (const path of targetsOf(part, model)) {
      const other = byPath.get(path)
      if (other) {
        const [first, second] = [other, part].map(({ config }) => config.constructor.name)
        throw new Error(
          `UnionConfig: ${first} and ${second} both work on "${path}"; a union's parts need places of their own. Change the options of one, or add it as an adapter of its own`,
        )
      }
      byPath.set(path, part)
    }
  }
  return byPath
}

/** What of an adapter that is a union belongs to one of its parts. */
export function contextOf<T extends AdapterContext<UnionConfig>>(
  context: T,
  part: Part,
): Omit<T, 'config'> & AdapterContext<UnionPart> {
  const { layers, model } = context
  const own = new Set(targetsOf(part, model))
  return { ...context, config: part.config, layers: new Map([...layers].filter(([path]) => own.has(path))) }
}
