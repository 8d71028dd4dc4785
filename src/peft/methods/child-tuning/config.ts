/** @file The options of Child-Tuning. */
import { type ConfigDefaults, optionsFromJson, PeftConfig, type PeftConfigOptions } from '../../config.ts'
import type { TargetOptions } from '../../method.ts'

/** The options of {@link ChildTuningConfig}. */
export interface ChildTuningConfigOptions extends PeftConfigOptions, TargetOptions {
  /**
   * Which network trains: `D`, the weights that matter most to the task by their Fisher information, chosen once with
   * data; or `F`, another random part in each step, with its gradients scaled up.
   */
  variant?: 'D' | 'F'
  /** The share of the weights that trains (0.3; the paper tries 0.1 to 0.3 for D, 0.2 to 0.4 for F). */
  reserveP?: number
  /** For D: how many examples decide which weights matter, at most; null is all of them. */
  numSamples?: number | null
  /** For D: the norm to which each batch's gradient is shortened before it is squared (1); null for none. */
  maxGradNorm?: number | null
  /** For F: the seed of the random parts (0). */
  maskSeed?: number
  /** Whether biases of the target modules take part (true). */
  trainBiases?: boolean
  /** Whether the model's normalisations take part (true). */
  trainNorms?: boolean
  /** Whether the model's embeddings take part, with the heads that are tied to them (false). */
  trainEmbeddings?: boolean
}

/** Every option with its default. */
export const CHILD_TUNING_DEFAULTS: ConfigDefaults = {
  excludeModules: null,
  layersPattern: null,
  layersToTransform: null,
  maskSeed: 0,
  maxGradNorm: 1,
  modulesToSave: null,
  numSamples: null,
  reserveP: 0.3,
  targetModules: null,
  trainBiases: true,
  trainEmbeddings: false,
  trainNorms: true,
  variant: 'D',
}

/** The configuration of an adapter that trains a part of the weights (arXiv 2109.05687). */
export class ChildTuningConfig extends PeftConfig {
  readonly peftType = 'CHILD_TUNING'
  declare targetModules: readonly string[] | string | null
  declare excludeModules: readonly string[] | string | null
  declare layersToTransform: readonly number[] | number | null
  declare layersPattern: readonly string[] | string | null
  declare modulesToSave: readonly string[] | null
  declare variant: 'D' | 'F'
  declare reserveP: number
  declare numSamples: number | null
  declare maxGradNorm: number | null
  declare maskSeed: number
  declare trainBiases: boolean
  declare trainNorms: boolean
  declare trainEmbeddings: boolean

  /** @throws for an option that does not exist or has a value out of range */
  constructor(options: ChildTuningConfigOptions = {}) {
    super()
    this.assign(options)
    const { variant, reserveP, numSamples, maxGradNorm, maskSeed } = this
    const fail = (message: string): never => {
      throw new Error(`ChildTuningConfig: ${message}`)
    }
    if (variant !== 'D' && variant !== 'F') fail(`variant must be "D" or "F", got ${JSON.stringify(variant)}`)
    if (!(reserveP > 0 && reserveP <= 1)) fail(`reserveP must lie above 0 and be at most 1, got ${reserveP}`)
    if (numSamples !== null && !(Number.isInteger(numSamples) && numSamples > 0)) {
      fail(`numSamples must be a whole number above 0, or null for all examples, got ${numSamples}`)
    }
    if (maxGradNorm !== null && !(maxGradNorm > 0)) fail(`maxGradNorm must be above 0, or null, got ${maxGradNorm}`)
    if (!Number.isSafeInteger(maskSeed)) fail(`maskSeed must be a whole number, got ${maskSeed}`)
  }

  /** The configuration in the JSON of a file. */
  static fromJson(json: unknown, label: string): ChildTuningConfig {
    return new ChildTuningConfig(optionsFromJson(json, CHILD_TUNING_DEFAULTS, label))
  }

  protected override defaults(): ConfigDefaults {
    return CHILD_TUNING_DEFAULTS
  }
}
