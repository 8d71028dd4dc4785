/** @file The options of AdapterHub's prompt tuning, with its names and defaults. */
import { type ConfigDefaults, optionsFromJson, PeftConfig, type PeftConfigOptions } from '../../config.ts'

/** The options of {@link AdapterHubPromptConfig}. */
export interface AdapterHubPromptConfigOptions extends PeftConfigOptions {
  /** The number of rows of the prompt (10). */
  promptLength?: number
  /** How it begins: drawn, or as the embeddings of a text (`random_uniform`). */
  promptInit?: 'random_uniform' | 'from_string'
  /** The text that `from_string` begins with, read by the tokenizer beside the base model. */
  promptInitText?: string | null
  /** `random_uniform` draws between this and its opposite (0.5). AdapterHub keeps it out of its files. */
  randomUniformScale?: number
  /** Whether the prompt stands in front of everything, or behind the first token (`prefix`). */
  combine?: 'prefix' | 'prefix_after_bos'
  /** Draws the first values in the place of the model's seed (null). */
  initWeightsSeed?: number | null
  /** Modules that are trained as a whole and saved with the adapter: a head. */
  modulesToSave?: readonly string[] | null
}

/** The options in AdapterHub's files with their defaults. */
export const HUB_PROMPT_OPTIONS: ConfigDefaults = {
  combine: 'prefix',
  initWeightsSeed: null,
  promptInit: 'random_uniform',
  promptInitText: null,
  promptLength: 10,
}

const DEFAULTS: ConfigDefaults = { ...HUB_PROMPT_OPTIONS, modulesToSave: null, randomUniformScale: 0.5 }

/** The configuration of prompt tuning as AdapterHub computes it (arXiv 2104.08691). */
export class AdapterHubPromptConfig extends PeftConfig {
  readonly peftType = 'ADAPTERHUB_PROMPT'
  declare promptLength: number
  declare promptInit: 'random_uniform' | 'from_string'
  declare promptInitText: string | null
  declare randomUniformScale: number
  declare combine: 'prefix' | 'prefix_after_bos'
  declare initWeightsSeed: number | null
  declare modulesToSave: readonly string[] | null

  /** @throws for an option that does not exist or has a value out of range */
  constructor(options: AdapterHubPromptConfigOptions = {}) {
    super()
    this.assign(options)
    const { promptLength, promptInit, promptInitText, randomUniformScale, combine } = this
    const fail = (name: string, expected: string, got: unknown): never => {
      throw new Error(`AdapterHubPromptConfig: ${name} must be ${expected}, got ${JSON.stringify(got)}`)
    }
    if (!(Number.isInteger(promptLength) && promptLength > 0)) {
      fail('promptLength', 'a whole number above 0', promptLength)
    }
    if (!['random_uniform', 'from_string'].includes(promptInit)) {
      fail('promptInit', '"random_uniform" or "from_string"', promptInit)
    }
    if (promptInit === 'from_string' && !promptInitText) {
      fail('promptInitText', 'a text with promptInit "from_string"', promptInitText)
    }
    if (!(randomUniformScale > 0)) fail('randomUniformScale', 'a number above 0', randomUniformScale)
    if (!['prefix', 'prefix_after_bos'].includes(combine)) fail('combine', '"prefix" or "prefix_after_bos"', combine)
  }

  /** The configuration in JSON under this library's names. */
  static fromJson(json: unknown, label: string): AdapterHubPromptConfig {
    return new AdapterHubPromptConfig(optionsFromJson(json, DEFAULTS, label))
  }

  protected override defaults(): ConfigDefaults {
    return DEFAULTS
  }
}
