/** @file Modules that compute now this, now that, and the traces of what they compute. */
import type { Parameter } from '../nn/index.ts'

/**
 * A module that computes now this, now that: one with adapters. What was compiled follows it: it is traced again when
 * the variant is another, and compiled again only when the trace is another.
 */
export interface SwitchableModule {
  /** Equal as long as the module computes the same function of its inputs and of its parameters' values. */
  variant(): string
  /** What it computes with now, where there may be others that can take its place; undefined where that is not known. */
  interchangeable?(): Interchangeable | undefined
}

/** A part of a module, an adapter, in whose place another one can stand: only the values differ. */
export interface Interchangeable {
  /** Equal for two parts with which the module computes the same function of their parameters' values. */
  readonly key: string
  /** The parameters of the part; another one's of the same key stand at the same positions. */
  readonly parameters: readonly Parameter[]
  /** Whether nothing has asked since which part it is: a trace during which something did fits this one only. */
  isAnonymous(): boolean
}

/** The variant of a module; the empty string for one that always computes the same. */
export function variantOf(module: object): string {
  return (module as Partial<SwitchableModule>).variant?.() ?? ''
}

/** Whether a module computes now this, now that. */
export const isSwitchable = (module: object): module is SwitchableModule =>
  typeof (module as Partial<SwitchableModule>).variant === 'function'

/** What {@link VariantTraces} does with traces. */
export interface TraceHandling<T> {
  /** How many are kept. */
  limit: number
  /** Whether a trace still is what tracing would give. */
  isCurrent(trace: T): boolean
  /** The trace with other parameters in the place of its own; undefined where that could be another computation. */
  withOthers(trace: T, own: readonly Parameter[], others: readonly Parameter[]): T | undefined
}

/** Traces of a module by its variant. Where one part takes the place of another, the trace is taken over. */
export class VariantTraces<T> {
  readonly #handling: TraceHandling<T>
  /** Those used last at the end. */
  readonly #traces = new Map<string, T>()
  /** Traces that others can take over, with the parameters of the part that they were made with. */
  readonly #patterns = new Map<string, { trace: T; parameters: readonly Parameter[] }>()

  constructor(handling: TraceHandling<T>) {
    this.#handling = handling
  }

  /**
   * The trace of what `module` computes now.
   *
   * @param form tells traces of one variant apart
   */
  get(module: object, form: string, make: () => T): T {
    const { limit, isCurrent } = this.#handling
    const key = `${variantOf(module)} ${form}`
    const known = this.#traces.get(key)
    const trace =
      known !== undefined && isCurrent(known) ? known : (this.#takeOver(module, form) ?? this.#make(module, form, make))
    touch(this.#traces, key, trace, limit)
    return trace
  }

  #takeOver(module: object, form: string): T | undefined {
    const part = (module as Partial<SwitchableModule>).interchangeable?.()
    const pattern = part && this.#patterns.get(`${part.key} ${form}`)
    return pattern && this.#handling.withOthers(pattern.trace, pattern.parameters, part.parameters)
  }

  #make(module: object, form: string, make: () => T): T {
    const part = (module as Partial<SwitchableModule>).interchangeable?.()
    const trace = make()
    if (part?.isAnonymous())
      touch(this.#patterns, `${part.key} ${form}`, { trace, parameters: part.parameters }, this.#handling.limit)
    return trace
  }

  clear(): void {
    this.#traces.clear()
    this.#patterns.clear()
  }
}

/** Puts an entry at the end of a map, and drops the first ones where there are too many. */
export function touch<T>(map: Map<string, T>, key: string, value: T, limit: number, drop?: (value: T) => void): void {
  map.delete(key)
  map.set(key, value)
  for (const [first, old] of map) {
    if (map.size <= limit) return
    map.delete(first)
    drop?.(old)
  }
}
