/** @file The rank pattern: which directions of each layer are left, as PEFT writes it into the configuration. */
import { Parameter } from '../../../nn/index.ts'
import type { RankPattern } from './config.ts'
import type { AdaLoraLayer } from './layer.ts'

/** The directions of the layer at `path` that a pattern leaves; undefined where it does not name the layer. */
export function patternOf(pattern: RankPattern | null, path: string): readonly boolean[] | undefined {
  if (!pattern) return undefined
  // PEFT strips the adapter's name when it saves; a pattern that was written before has it at the end.
  const key = Object.keys(pattern).find(name => name === `${path}.lora_E` || name.startsWith(`${path}.lora_E.`))
  return key === undefined ? undefined : pattern[key]
}

/**
 * Which of the directions that an adapter's parameters hold count: a direction that the budget took away and that
 * nothing has given a value since is gone.
 */
function counted(layer: AdaLoraLayer, adapterName: string): boolean[] {
  const values = layer.factors(adapterName).e.data
  return layer.settings[adapterName].left.map((isLeft, i) => isLeft || values[i] !== 0)
}

/** Whether the directions of an adapter are all that it began with. */
export function isWhole(layers: Iterable<AdaLoraLayer>, adapterName: string): boolean {
  return [...layers].every(({ settings }) => {
    const { held, left } = settings[adapterName]
    return !held.includes(false) && !left.includes(false)
  })
}

/** The pattern of the directions that the layers of an adapter began with. */
export function rankPattern(layers: ReadonlyMap<string, AdaLoraLayer>, adapterName: string): RankPattern {
  const pattern: Record<string, boolean[]> = {}
  for (const [path, layer] of layers) {
    const counts = counted(layer, adapterName)
    let at = 0
    pattern[`${path}.lora_E`] = layer.settings[adapterName].held.map(isHeld => isHeld && counts[at++])
  }
  return pattern
}

/** For the parameters of an adapter of one layer: copies without the directions that are gone, where there are such. */
export function prunedFactors(layer: AdaLoraLayer, adapterName: string): Map<Parameter, Parameter> {
  const counts = counted(layer, adapterName)
  if (!counts.includes(false)) return new Map()
  const rank = counts.filter(Boolean).length
  const { a, e, b } = layer.factors(adapterName)
  const rows = ({ data, shape: [, width] }: Parameter) =>
    Parameter.from(
      data.filter((_, i) => counts[Math.floor(i / width)]),
      [rank, width],
    )
  const columns = Parameter.from(
    b.data.filter((_, i) => counts[i % counts.length]),
    [b.shape[0], rank],
  )
  return new Map([
    [a, rows(a)],
    [e, rows(e)],
    [b, columns],
  ])
}
