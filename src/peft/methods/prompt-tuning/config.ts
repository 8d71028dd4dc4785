/** @file The options of prompt tuning, with PEFT's names and defaults. */
import { didYouMean } from '../../../util/nearest.ts'
import { type ConfigDefaults, optionsFromJson } from '../../config.ts'
import {
  PROMPT_LEARNING_DEFAULTS,
  PromptLearningConfig,
  type PromptLearningConfigOptions,
} from '../../prompt-learning/index.ts'

/** How the first values of a prompt are chosen. */
export const PromptTuningInit = {
  /** Drawn from a normal distribution. */
  RANDOM: 'RANDOM',
  /** The embeddings of a text, repeated or cut to the number of virtual tokens. */
  TEXT: 'TEXT',
  /** The embeddings of tokens that are drawn from the vocabulary. */
  SAMPLE_VOCAB: 'SAMPLE_VOCAB',
} as const

/** One of {@link PromptTuningInit}. */
export type PromptTuningInit = (typeof PromptTuningInit)[keyof typeof PromptTuningInit]

/** The options of {@link PromptTuningConfig}. */
export interface PromptTuningConfigOptions extends PromptLearningConfigOptions {
  promptTuningInit?: PromptTuningInit
  /** The text that `TEXT` begins with. */
  promptTuningInitText?: string | null
  /** The folder of the tokenizer that `TEXT` reads the text with. */
  tokenizerNameOrPath?: string | null
  /** Kept for the file: what Python passes on to its tokenizer. */
  tokenizerKwargs?: Readonly<Record<string, unknown>> | null
}

/** Every option of PEFT's PromptTuningConfig with its default. */
export const PROMPT_TUNING_DEFAULTS: ConfigDefaults = {
  ...PROMPT_LEARNING_DEFAULTS,
  promptTuningInit: 'RANDOM',
  promptTuningInitText: null,
  tokenizerKwargs: null,
  tokenizerNameOrPath: null,
}

/** The configuration of prompt tuning (arXiv 2104.08691). */
export class PromptTuningConfig extends PromptLearningConfig {
  readonly peftType = 'PROMPT_TUNING'
  declare promptTuningInit: PromptTuningInit
  declare promptTuningInitText: string | null
  declare tokenizerNameOrPath: string | null
  declare tokenizerKwargs: Readonly<Record<string, unknown>> | null

  /** @throws for an option that does not exist, and for options of `TEXT` that are missing or out of place */
  constructor(options: PromptTuningConfigOptions = {}) {
    super()
    this.assign(options)
    const { promptTuningInit: init, promptTuningInitText, tokenizerNameOrPath, tokenizerKwargs } = this
    if (!(init in PromptTuningInit)) {
      throw new Error(
        `PromptTuningConfig: promptTuningInit "${init}" is not known.${didYouMean(String(init), Object.keys(PromptTuningInit))} Known: ${Object.keys(PromptTuningInit).join(', ')}.`,
      )
    }
    if (init === 'TEXT') {
      for (const [name, value] of Object.entries({ promptTuningInitText, tokenizerNameOrPath })) {
        if (!value)
          throw new Error(`PromptTuningConfig: promptTuningInit TEXT needs ${name}, got ${JSON.stringify(value)}`)
      }
    } else if (tokenizerKwargs && Object.keys(tokenizerKwargs).length) {
      throw new Error(`PromptTuningConfig: tokenizerKwargs has no effect with promptTuningInit ${init}; leave it out`)
    }
  }

  /** The configuration in the JSON of a file. */
  static fromJson(json: unknown, label: string): PromptTuningConfig {
    return new PromptTuningConfig(optionsFromJson(json, PROMPT_TUNING_DEFAULTS, label))
  }

  protected override defaults(): ConfigDefaults {
    return PROMPT_TUNING_DEFAULTS
  }
}
