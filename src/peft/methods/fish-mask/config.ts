/** @file The options of FISH Mask. */
import { type ConfigDefaults, optionsFromJson, PeftConfig, type PeftConfigOptions } from '../../config.ts'
import type { TargetOptions } from '../../method.ts'
import type { MaskScope } from '../../sparse/index.ts'

/** The options of {@link FishMaskConfig}. */
export interface FishMaskConfigOptions extends PeftConfigOptions, TargetOptions {
  /** The share of the weights that trains (0.005). */
  keepShare?: number
  /** Whether the share is that of all target weights together (`global`), or of each matrix (`layer`). */
  scope?: MaskScope
  /** How many examples decide which weights matter, at most (1024). */
  numSamples?: number
  /** Whether biases of the target modules take part (false). */
  trainBiases?: boolean
  /** Whether the model's normalisations take part (false). */
  trainNorms?: boolean
  /** Whether the model's embeddings take part, with the heads that are tied to them (false). */
  trainEmbeddings?: boolean
}

/** Every option with its default. */
export const FISH_MASK_DEFAULTS: ConfigDefaults = {
  excludeModules: null,
  keepShare: 0.005,
  layersPattern: null,
  layersToTransform: null,
  modulesToSave: null,
  numSamples: 1024,
  scope: 'global',
  targetModules: null,
  trainBiases: false,
  trainEmbeddings: false,
  trainNorms: false,
}

/** The configuration of an adapter that trains the weights with the largest Fisher information (arXiv 2111.09839). */
export class FishMaskConfig extends PeftConfig {
  readonly peftType = 'FISH_MASK'
  declare targetModules: readonly string[] | string | null
  declare excludeModules: readonly string[] | string | null
  declare layersToTransform: readonly number[] | number | null
  declare layersPattern: readonly string[] | string | null
  declare modulesToSave: readonly string[] | null
  declare keepShare: number
  declare scope: MaskScope
  declare numSamples: number
  declare trainBiases: boolean
  declare trainNorms: boolean
  declare trainEmbeddings: boolean

  /** @throws for an option that does not exist or has a value out of range */
  constructor(options: FishMaskConfigOptions = {}) {
    super()
    this.assign(options)
    const { keepShare, scope, numSamples } = this
    if (!(keepShare > 0 && keepShare <= 1)) {
      throw new Error(`FishMaskConfig: keepShare must lie above 0 and be at most 1, got ${keepShare}; 0.005 is 0.5 %`)
    }
    if (scope !== 'global' && scope !== 'layer') {
      throw new Error(`FishMaskConfig: scope must be "global" or "layer", got ${JSON.stringify(scope)}`)
    }
    if (!(Number.isInteger(numSamples) && numSamples > 0)) {
      throw new Error(`FishMaskConfig: numSamples must be a whole number above 0, got ${numSamples}`)
    }
  }

  /** The configuration in the JSON of a file. */
  static fromJson(json: unknown, label: string): FishMaskConfig {
    return new FishMaskConfig(optionsFromJson(json, FISH_MASK_DEFAULTS, label))
  }

  protected override defaults(): ConfigDefaults {
    return FISH_MASK_DEFAULTS
  }
}
