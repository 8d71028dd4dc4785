/** @file The options of VeRA, with PEFT's names and defaults. */
import { type ConfigDefaults, optionsFromJson, PeftConfig, type PeftConfigOptions } from '../../config.ts'
import type { TargetOptions } from '../../method.ts'

/** The options of {@link VeraConfig}. */
export interface VeraConfigOptions extends PeftConfigOptions, TargetOptions {
  /** The rank of the shared matrices (256); higher than LoRA's, because so little trains. */
  r?: number
  /** The seed of the shared matrices (0): the numbers are those that PyTorch draws from it. */
  projectionPrngKey?: number
  /** Whether the shared matrices are saved (true); otherwise they are drawn again from the seed when a file is loaded. */
  saveProjection?: boolean
  /** The probability of dropping an element of the adapter's input while training (0). */
  veraDropout?: number
  /** The first value of the vector between the matrices (0.1). */
  dInitial?: number
  /** Which biases of the base model are trained too (`none`). */
  bias?: 'none' | 'all' | 'vera_only'
  /** Whether the vector after the matrices begins at zero, so that nothing changes at first (true); otherwise drawn. */
  initWeights?: boolean
  /** Kept for the file; worked out from the layers. */
  fanInFanOut?: boolean
}

/** Every option of PEFT's VeraConfig with its default. */
export const VERA_DEFAULTS: ConfigDefaults = {
  bias: 'none',
  dInitial: 0.1,
  fanInFanOut: false,
  initWeights: true,
  layersPattern: null,
  layersToTransform: null,
  modulesToSave: null,
  projectionPrngKey: 0,
  r: 256,
  saveProjection: true,
  targetModules: null,
  veraDropout: 0,
}

/** The configuration of a VeRA adapter (arXiv 2310.11454). */
export class VeraConfig extends PeftConfig {
  readonly peftType = 'VERA'
  declare r: number
  declare projectionPrngKey: number
  declare saveProjection: boolean
  declare veraDropout: number
  declare dInitial: number
  declare bias: 'none' | 'all' | 'vera_only'
  declare initWeights: boolean
  declare fanInFanOut: boolean
  declare targetModules: readonly string[] | string | null
  declare layersToTransform: readonly number[] | number | null
  declare layersPattern: readonly string[] | string | null
  declare modulesToSave: readonly string[] | null

  /** @throws for an option that does not exist or has a value out of range */
  constructor(options: VeraConfigOptions = {}) {
    super()
    this.assign(options)
    const { r, projectionPrngKey: key, veraDropout: p, dInitial, bias } = this
    const fail = (message: string): never => {
      throw new Error(`VeraConfig: ${message}`)
    }
    if (!(Number.isInteger(r) && r > 0)) fail(`r must be a whole number above 0, got ${r}`)
    if (!Number.isSafeInteger(key)) fail(`projectionPrngKey must be a whole number, got ${key}`)
    if (!(p >= 0 && p < 1)) fail(`veraDropout must lie in [0, 1), got ${p}`)
    if (!Number.isFinite(dInitial)) fail(`dInitial must be a number, got ${dInitial}`)
    if (!['none', 'all', 'vera_only'].includes(bias)) fail(`bias must be none, all or vera_only, got "${bias}"`)
    if (this.layersToTransform !== null && typeof this.targetModules === 'string') {
      fail('layersToTransform works with a list of targetModules; put the layers into the expression')
    }
    if (this.layersPattern !== null && this.layersToTransform === null) {
      fail('layersPattern needs layersToTransform, the numbers of the layers')
    }
  }

  /** The configuration in the JSON of a file. */
  static fromJson(json: unknown, label: string): VeraConfig {
    return new VeraConfig(optionsFromJson(json, VERA_DEFAULTS, label))
  }

  protected override defaults(): ConfigDefaults {
    return VERA_DEFAULTS
  }
}
