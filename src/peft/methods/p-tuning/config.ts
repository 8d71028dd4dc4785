/** @file The options of P-tuning, with PEFT's names and defaults. */
import { didYouMean } from '../../../util/nearest.ts'
import { type ConfigDefaults, optionsFromJson } from '../../config.ts'
import {
  PROMPT_LEARNING_DEFAULTS,
  PromptLearningConfig,
  type PromptLearningConfigOptions,
  requireCount,
} from '../../prompt-learning/index.ts'

/** The layers through which virtual tokens are learnt. */
export const PromptEncoderReparameterizationType = {
  /** Three dense layers. */
  MLP: 'MLP',
  /** An LSTM in both directions over the virtual tokens, then two dense layers. */
  LSTM: 'LSTM',
} as const

/** One of {@link PromptEncoderReparameterizationType}. */
export type PromptEncoderReparameterizationType =
  (typeof PromptEncoderReparameterizationType)[keyof typeof PromptEncoderReparameterizationType]

/** The options of {@link PromptEncoderConfig}. */
export interface PromptEncoderConfigOptions extends PromptLearningConfigOptions {
  encoderReparameterizationType?: PromptEncoderReparameterizationType
  /** The width of the layers; that of the model's tokens by default. */
  encoderHiddenSize?: number | null
  /** The layers of the LSTM. */
  encoderNumLayers?: number
  /** The probability of dropout between the layers of the LSTM. */
  encoderDropout?: number
}

/** The hidden layers of the MLP, which cannot be chosen. */
const MLP_LAYERS = 2

/** Every option of PEFT's PromptEncoderConfig with its default. */
export const P_TUNING_DEFAULTS: ConfigDefaults = {
  ...PROMPT_LEARNING_DEFAULTS,
  encoderDropout: 0,
  encoderHiddenSize: null,
  encoderNumLayers: MLP_LAYERS,
  encoderReparameterizationType: 'MLP',
}

/** The configuration of P-tuning (arXiv 2103.10385). */
export class PromptEncoderConfig extends PromptLearningConfig {
  readonly peftType = 'P_TUNING'
  declare encoderReparameterizationType: PromptEncoderReparameterizationType
  declare encoderHiddenSize: number | null
  declare encoderNumLayers: number
  declare encoderDropout: number

  /** @throws for an option that does not exist, is out of range, or has no effect */
  constructor(options: PromptEncoderConfigOptions = {}) {
    super()
    this.assign(options)
    const { encoderReparameterizationType: type, encoderHiddenSize, encoderNumLayers, encoderDropout } = this
    const types = Object.keys(PromptEncoderReparameterizationType)
    if (!types.includes(type)) {
      throw new Error(
        `PromptEncoderConfig: encoderReparameterizationType "${type}" is not known.${didYouMean(String(type), types)} Known: ${types.join(', ')}.`,
      )
    }
    requireCount(this, 'encoderHiddenSize', encoderHiddenSize)
    requireCount(this, 'encoderNumLayers', encoderNumLayers)
    if (!(encoderDropout >= 0 && encoderDropout < 1)) {
      throw new Error(`PromptEncoderConfig: encoderDropout must lie in [0, 1), got ${encoderDropout}`)
    }
    if (type === 'MLP' && encoderNumLayers !== MLP_LAYERS) {
      throw new Error(
        `PromptEncoderConfig: encoderNumLayers is ${encoderNumLayers}, but the MLP always has ${MLP_LAYERS} hidden layers; leave it out, or choose LSTM`,
      )
    }
  }

  /** The configuration in the JSON of a file. */
  static fromJson(json: unknown, label: string): PromptEncoderConfig {
    const { encoderNumLayers, ...options } = optionsFromJson(json, P_TUNING_DEFAULTS, label)
    const { encoderReparameterizationType: type } = options
    if (type === 'LSTM') return new PromptEncoderConfig({ ...options, encoderNumLayers: encoderNumLayers as number })
    // Python takes any number for the MLP, which does not read it.
    return new PromptEncoderConfig(options).with({ encoderNumLayers: encoderNumLayers ?? MLP_LAYERS })
  }

  protected override defaults(): ConfigDefaults {
    return P_TUNING_DEFAULTS
  }
}
