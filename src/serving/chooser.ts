/** @file Choosing the tokens of a request's row, as `generate` would with the same options. */
import type { Tokenizer } from '../data/index.ts'
import { TokenChooser } from '../generation/chooser.ts'
import type { SpecialTokens } from '../generation/model-files.ts'
import { type ModelLimits, resolveSettings } from '../generation/options.ts'
import type { GenerateOptions, GenerationDefaults } from '../models/generator.ts'
import type { RowRequest, RowSettings } from './backend.ts'

/** What is the same for all rows. */
export interface ChooserContext {
  limits: ModelLimits
  tokens: SpecialTokens
  tokenizer: Tokenizer
  /** What generation_config.json says. */
  defaults: GenerationDefaults
}

/** What chooses the tokens of a row. */
export function rowChooser({ prompt, settings, choice }: RowRequest, context: ChooserContext): TokenChooser {
  const { limits, tokens, defaults } = context
  return new TokenChooser({
    // Beams do not stream.
    settings: resolveSettings(generateOptions(settings, context.tokenizer), limits, { ...defaults, numBeams: 1 }),
    tokens,
    beginning: prompt,
    source: prompt,
    row: choice,
  })
}

/** The options of `generate` that choose the same tokens. */
export function generateOptions(settings: RowSettings, tokenizer: Tokenizer): GenerateOptions {
  const { maxNewTokens, temperature, topP, topK, minP, seed, stop, logprobs, logitBias } = settings
  const { repetitionPenalty, presencePenalty, frequencyPenalty } = settings
  return {
    maxNewTokens,
    ...(temperature > 0 ? { doSample: true, temperature, topP, topK, minP, seed } : { doSample: false }),
    ...{ repetitionPenalty, presencePenalty, frequencyPenalty, logitBias: Object.fromEntries(logitBias) },
    ...(stop.length && { stopStrings: stop, tokenizer }),
    ...(logprobs !== undefined && { logprobs: true, topLogprobs: logprobs }),
  }
}
