/** @file The options of (IA)3, with PEFT's names and defaults. */
import { type ConfigDefaults, optionsFromJson, PeftConfig, type PeftConfigOptions } from '../../config.ts'
import type { TargetOptions } from '../../method.ts'

/** The options of {@link IA3Config}. */
export interface IA3ConfigOptions extends PeftConfigOptions, TargetOptions {
  /** Those of the targets whose input is scaled instead of their output: names (the end of a path) or an expression. */
  feedforwardModules?: readonly string[] | string | null
  /** Whether the vectors begin at one, so that nothing changes at first (true); otherwise they are drawn. */
  initIa3Weights?: boolean
  /** Kept for the file; worked out from the layers. */
  fanInFanOut?: boolean
}

/** Every option of PEFT's IA3Config with its default. */
export const IA3_DEFAULTS: ConfigDefaults = {
  excludeModules: null,
  fanInFanOut: false,
  feedforwardModules: null,
  initIa3Weights: true,
  modulesToSave: null,
  targetModules: null,
}

/** The configuration of an (IA)3 adapter (arXiv 2205.05638). */
export class IA3Config extends PeftConfig {
  readonly peftType = 'IA3'
  declare targetModules: readonly string[] | string | null
  declare excludeModules: readonly string[] | string | null
  declare feedforwardModules: readonly string[] | string | null
  declare modulesToSave: readonly string[] | null
  declare initIa3Weights: boolean
  declare fanInFanOut: boolean

  /** @throws for an option that does not exist, and for feed-forward modules that are not among the targets */
  constructor(options: IA3ConfigOptions = {}) {
    super()
    this.assign(options)
    const { targetModules, feedforwardModules } = this
    if (!Array.isArray(targetModules) || !Array.isArray(feedforwardModules)) return
    const stray = feedforwardModules.filter(name => !targetModules.includes(name))
    if (stray.length) {
      throw new Error(
        `IA3Config: feedforwardModules names ${JSON.stringify(stray)}, which targetModules does not; it must be a part of ${JSON.stringify(targetModules)}`,
      )
    }
  }

  /** The configuration in the JSON of a file. */
  static fromJson(json: unknown, label: string): IA3Config {
    return new IA3Config(optionsFromJson(json, IA3_DEFAULTS, label))
  }

  protected override defaults(): ConfigDefaults {
    return IA3_DEFAULTS
  }
}
