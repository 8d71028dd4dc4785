/** @file The options of trainable tokens, with PEFT's names and defaults. */
import { type ConfigDefaults, optionsFromJson, PeftConfig, type PeftConfigOptions } from '../../config.ts'

/** The options of {@link TrainableTokensConfig}. */
export interface TrainableTokensConfigOptions extends PeftConfigOptions {
  /** The tokens to train, by their indices in the vocabulary. */
  tokenIndices?: readonly number[]
  /**
   * The embeddings, or dense layers over the vocabulary: names (the end of a path) or an expression for whole paths. By
   * default the model's token embedding; heads that are tied to it follow.
   */
  targetModules?: readonly string[] | string | null
  /** Whether the rows begin as the base's, so that nothing changes at first (true); otherwise they are drawn. */
  initWeights?: boolean
}

/** Every option of PEFT's TrainableTokensConfig with its default. */
export const TRAINABLE_TOKENS_DEFAULTS: ConfigDefaults = { initWeights: true, targetModules: null, tokenIndices: [] }

/** The configuration of an adapter that trains the vectors of single tokens. */
export class TrainableTokensConfig extends PeftConfig {
  readonly peftType = 'TRAINABLE_TOKENS'
  declare tokenIndices: readonly number[]
  declare targetModules: readonly string[] | string | null
  declare initWeights: boolean

  /** @throws for an option that does not exist, and for indices that are not a list of whole numbers */
  constructor(options: TrainableTokensConfigOptions = {}) {
    super()
    this.assign(options)
    const { tokenIndices } = this
    if (!Array.isArray(tokenIndices) || tokenIndices.some(token => !Number.isInteger(token))) {
      throw new Error(
        `TrainableTokensConfig: tokenIndices must be a list of whole numbers, got ${JSON.stringify(tokenIndices)}`,
      )
    }
  }

  /** The configuration in the JSON of a file. */
  static fromJson(json: unknown, label: string): TrainableTokensConfig {
    return new TrainableTokensConfig(optionsFromJson(json, TRAINABLE_TOKENS_DEFAULTS, label))
  }

  protected override defaults(): ConfigDefaults {
    return TRAINABLE_TOKENS_DEFAULTS
  }
}
