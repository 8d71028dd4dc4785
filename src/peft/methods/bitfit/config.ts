/** @file The options of BitFit. */
import { type ConfigDefaults, optionsFromJson, PeftConfig, type PeftConfigOptions } from '../../config.ts'
import type { TargetOptions } from '../../method.ts'

/**
 * Which biases train: `all`; the paper's half of them, of the queries and of the first dense layer of each feed-forward
 * block (`query_and_intermediate`; the paper counts it as the second, after attention's); or modules by name (the end of
 * a path).
 */
export type Biases = 'all' | 'query_and_intermediate' | readonly string[]

/** The options of {@link BitFitConfig}. */
export interface BitFitConfigOptions extends PeftConfigOptions, TargetOptions {
  /** Which biases train (`all`). */
  biases?: Biases
  /** Only the biases of these modules: names (the end of a path), an expression for whole paths, or `all-linear`. */
  targetModules?: readonly string[] | string | null
}

/** Every option with its default. */
export const BITFIT_DEFAULTS: ConfigDefaults = {
  biases: 'all',
  excludeModules: null,
  layersPattern: null,
  layersToTransform: null,
  modulesToSave: null,
  targetModules: null,
}

/** The configuration of an adapter that trains biases and nothing else (arXiv 2106.10199). */
export class BitFitConfig extends PeftConfig {
  readonly peftType = 'BITFIT'
  declare biases: Biases
  declare targetModules: readonly string[] | string | null
  declare excludeModules: readonly string[] | string | null
  declare layersToTransform: readonly number[] | number | null
  declare layersPattern: readonly string[] | string | null
  declare modulesToSave: readonly string[] | null

  /** @throws for an option that does not exist, and for biases that are neither a known choice nor a list of names */
  constructor(options: BitFitConfigOptions = {}) {
    super()
    this.assign(options)
    const { biases } = this
    const isNames = Array.isArray(biases) && biases.length > 0 && biases.every(name => typeof name === 'string')
    if (!isNames && biases !== 'all' && biases !== 'query_and_intermediate') {
      throw new Error(
        `BitFitConfig: biases must be "all", "query_and_intermediate" or a list of module names, got ${JSON.stringify(biases)}`,
      )
    }
  }

  /** The configuration in the JSON of a file. */
  static fromJson(json: unknown, label: string): BitFitConfig {
    return new BitFitConfig(optionsFromJson(json, BITFIT_DEFAULTS, label))
  }

  protected override defaults(): ConfigDefaults {
    return BITFIT_DEFAULTS
  }
}
