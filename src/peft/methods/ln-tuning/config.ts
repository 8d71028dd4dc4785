/** @file The options of LayerNorm tuning, with PEFT's names and defaults. */
import { type ConfigDefaults, optionsFromJson, PeftConfig, type PeftConfigOptions } from '../../config.ts'
import type { TargetOptions } from '../../method.ts'

/** Every option of PEFT's LNTuningConfig with its default. */
export const LN_TUNING_DEFAULTS: ConfigDefaults = { excludeModules: null, modulesToSave: null, targetModules: null }

/** The configuration of an adapter that trains normalisation layers (arXiv 2312.11420). */
export class LNTuningConfig extends PeftConfig {
  readonly peftType = 'LN_TUNING'
  declare targetModules: readonly string[] | string | null
  declare excludeModules: readonly string[] | string | null
  declare modulesToSave: readonly string[] | null

  /** @throws for an option that does not exist */
  constructor(options: PeftConfigOptions & TargetOptions = {}) {
    super()
    this.assign(options)
  }

  /** The configuration in the JSON of a file. */
  static fromJson(json: unknown, label: string): LNTuningConfig {
    return new LNTuningConfig(optionsFromJson(json, LN_TUNING_DEFAULTS, label))
  }

  protected override defaults(): ConfigDefaults {
    return LN_TUNING_DEFAULTS
  }
}
