/** @file The options of prefix tuning, with PEFT's names and defaults. */
import { type ConfigDefaults, optionsFromJson } from '../../config.ts'
import {
  PROMPT_LEARNING_DEFAULTS,
  PromptLearningConfig,
  type PromptLearningConfigOptions,
  requireCount,
} from '../../prompt-learning/index.ts'
import { HEAD_MODULES } from '../../task-type.ts'

/** The options of {@link PrefixTuningConfig}. */
export interface PrefixTuningConfigOptions extends PromptLearningConfigOptions {
  /** Whether the prefix is learnt through two dense layers. */
  prefixProjection?: boolean
  /** The width between those layers; that of a layer's keys by default. */
  encoderHiddenSize?: number | null
  /** `zero` begins with keys and values of zero; by default they are drawn. */
  initWeights?: 'zero' | null
}

/** Every option of PEFT's PrefixTuningConfig with its default. */
export const PREFIX_TUNING_DEFAULTS: ConfigDefaults = {
  ...PROMPT_LEARNING_DEFAULTS,
  encoderHiddenSize: null,
  initWeights: null,
  prefixProjection: false,
}

/** The configuration of prefix tuning (arXiv 2101.00190). */
export class PrefixTuningConfig extends PromptLearningConfig {
  readonly peftType = 'PREFIX_TUNING'
  declare prefixProjection: boolean
  declare encoderHiddenSize: number | null
  declare initWeights: 'zero' | null

  /** @throws for an option that does not exist or is out of range */
  constructor(options: PrefixTuningConfigOptions = {}) {
    super()
    this.assign(options)
    const { encoderHiddenSize, initWeights } = this
    requireCount(this, 'encoderHiddenSize', encoderHiddenSize)
    if (initWeights !== null && initWeights !== 'zero') {
      throw new Error(`PrefixTuningConfig: initWeights must be "zero" or left out, got ${JSON.stringify(initWeights)}`)
    }
  }

  /**
   * The configuration of P-tuning v2 (arXiv 2110.07602): a prefix in every layer that is trained as it is, together
   * with the head of a classifier, of tokens or of sequences, or of question answering.
   *
   * @throws for a task without a head to train, and for a projection
   * @example
   * getPeftModel(model, PrefixTuningConfig.pTuningV2({ taskType: 'SEQ_CLS', numVirtualTokens: 20 }))
   */
  static pTuningV2(options: PrefixTuningConfigOptions & { numVirtualTokens: number }): PrefixTuningConfig {
    const { taskType, prefixProjection } = options
    if (!taskType || !HEAD_MODULES[taskType]) {
      throw new Error(
        `PrefixTuningConfig.pTuningV2: taskType is ${JSON.stringify(taskType)}; P-tuning v2 trains a head with the prefix, which ${Object.keys(HEAD_MODULES).join(', ')} have`,
      )
    }
    if (prefixProjection) {
      throw new Error(
        'PrefixTuningConfig.pTuningV2: P-tuning v2 trains the prefix as it is; leave prefixProjection out',
      )
    }
    return new PrefixTuningConfig(options)
  }

  /** The configuration in the JSON of a file. */
  static fromJson(json: unknown, label: string): PrefixTuningConfig {
    return new PrefixTuningConfig(optionsFromJson(json, PREFIX_TUNING_DEFAULTS, label))
  }

  protected override defaults(): ConfigDefaults {
    return PREFIX_TUNING_DEFAULTS
  }
}
