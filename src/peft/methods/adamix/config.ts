/** @file The options of AdaMix. */
import { type ConfigDefaults, optionsFromJson, PeftConfig, type PeftConfigOptions } from '../../config.ts'
import type { TargetOptions } from '../../method.ts'

/** The options of {@link AdaMixConfig}. */
export interface AdaMixConfigOptions extends PeftConfigOptions, TargetOptions {
  /** What is mixed: adapters after the feed-forward networks, or LoRA on dense layers (`adapter`). */
  base?: 'adapter' | 'lora'
  /** How many experts each layer has (4). */
  numExperts?: number
  /** The width of an adapter, or the rank of LoRA (16). */
  r?: number
  /** LoRA's numerator of the scale, `alpha / r` (16). */
  loraAlpha?: number
  /** Whether the experts share the way up (true); otherwise each has its own, chosen apart from the way down. */
  sharingUp?: boolean
  /** Whether the experts share the way down (false). */
  sharingDown?: boolean
  /** Whether two random routings of each batch are to agree: a term of the loss, and a second pass through the model (true). */
  consistency?: boolean
  /** The factor on that term (1; the paper takes 100 for the generation of texts). */
  consistencyWeight?: number
}

/** Every option with its default. */
export const ADAMIX_DEFAULTS: ConfigDefaults = {
  base: 'adapter',
  consistency: true,
  consistencyWeight: 1,
  excludeModules: null,
  layersPattern: null,
  layersToTransform: null,
  loraAlpha: 16,
  modulesToSave: null,
  numExperts: 4,
  r: 16,
  sharingDown: false,
  sharingUp: true,
  targetModules: null,
}

/** The configuration of a mixture of adapters that becomes one (arXiv 2205.12410). */
export class AdaMixConfig extends PeftConfig {
  readonly peftType = 'ADAMIX'
  declare targetModules: readonly string[] | string | null
  declare excludeModules: readonly string[] | string | null
  declare layersToTransform: readonly number[] | number | null
  declare layersPattern: readonly string[] | string | null
  declare modulesToSave: readonly string[] | null
  declare base: 'adapter' | 'lora'
  declare numExperts: number
  declare r: number
  declare loraAlpha: number
  declare sharingUp: boolean
  declare sharingDown: boolean
  declare consistency: boolean
  declare consistencyWeight: number

  /** @throws for an option that does not exist or has a value out of range */
  constructor(options: AdaMixConfigOptions = {}) {
    super()
    this.assign(options)
    const { base, numExperts, r, loraAlpha, consistencyWeight, targetModules } = this
    const fail = (message: string): never => {
      throw new Error(`AdaMixConfig: ${message}`)
    }
    if (base !== 'adapter' && base !== 'lora') fail(`base must be "adapter" or "lora", got ${JSON.stringify(base)}`)
    if (!(Number.isInteger(numExperts) && numExperts > 0)) {
      fail(`numExperts must be a whole number above 0, got ${numExperts}`)
    }
    if (!(Number.isInteger(r) && r > 0)) fail(`r must be a whole number above 0, got ${r}`)
    if (!Number.isFinite(loraAlpha)) fail(`loraAlpha must be a number, got ${loraAlpha}`)
    if (!(consistencyWeight >= 0)) fail(`consistencyWeight must not be negative, got ${consistencyWeight}`)
    if (base === 'adapter' && targetModules !== null) {
      fail(
        'targetModules names dense layers, which is for base "lora"; adapters stand after every feed-forward network',
      )
    }
  }

  /** The configuration in the JSON of a file. */
  static fromJson(json: unknown, label: string): AdaMixConfig {
    return new AdaMixConfig(optionsFromJson(json, ADAMIX_DEFAULTS, label))
  }

  protected override defaults(): ConfigDefaults {
    return ADAMIX_DEFAULTS
  }
}
