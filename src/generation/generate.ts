/** @file Continuing prompts. */
import type {
  FinishReason,
  GenerateInputs,
  GenerateOptions,
  GenerateResult,
  GenerativeModel,
  TokenLogprob,
} from '../models/generator.ts'
import { searchBeams } from './beams.ts'
import { Generation } from './generation.ts'
import type { GenerationSettings } from './options.ts'
import { newTokens } from './rows.ts'

/**
 * Continues prompts token by token, or answers them where the model has an encoder: greedily, by drawing with `doSample`,
 * or by beam search with `numBeams`. What the options leave open is what generation_config.json in the model's folder
 * says, as in Transformers; that may be drawing, which a `seed` decides. Which adapters are active is decided when this
 * is called, and so are their values: training during a long generation does not change it.
 *
 * @param inputs the tokens of one prompt, or of several of any lengths; recordings for a model that hears
 * @throws when the model does not predict tokens, a prompt or option does not fit, or `signal` is aborted
 * @example
 * const { newTokens } = await generate(model, tokenizer.encode('Once upon a time').inputIds, { maxNewTokens: 50 })
 */
export async function generate(
  model: GenerativeModel,
  inputs: GenerateInputs,
  options: GenerateOptions = {},
): Promise<GenerateResult> {
  const generation = new Generation(model, inputs, options)
  const settings = await generation.settings()
  return settings.numBeams > 1 ? byBeams(generation, settings, options) : byRows(generation, settings, options)
}

async function byRows(
  generation: Generation,
  settings: GenerationSettings,
  { onToken }: GenerateOptions,
): Promise<GenerateResult> {
  const count = generation.prompts.length * settings.numReturnSequences
  const tokens = Array.from({ length: count }, (): number[] => [])
  const logprobs = Array.from({ length: count }, (): TokenLogprob[] => [])
  const finishReasons: FinishReason[] = []
  for await (const step of newTokens(generation, settings)) {
    for (const { row, token, finished, logprob } of step) {
      tokens[row].push(token)
      if (logprob) logprobs[row].push(logprob)
      if (finished) finishReasons[row] = finished
      await onToken?.(token, row, logprob)
    }
  }
  return {
    sequences: sequences(generation, settings, tokens),
    newTokens: tokens,
    finishReasons,
    ...(settings.logprobs && { logprobs }),
  }
}

async function byBeams(
  generation: Generation,
  settings: GenerationSettings,
  { onToken }: GenerateOptions,
): Promise<GenerateResult> {
  if (onToken) {
    throw new Error(
      `generate: onToken was given with numBeams ${settings.numBeams}, whose tokens are known only at the end; ` +
        'give numBeams: 1, or read the result',
    )
  }
  const texts = (await searchBeams(generation, settings)).flat()
  const tokens = texts.map(({ newTokens }) => newTokens)
  return {
    sequences: sequences(generation, settings, tokens),
    newTokens: tokens,
    finishReasons: texts.map(({ finishReason }) => finishReason),
    sequencesScores: texts.map(({ score }) => score),
    ...(settings.logprobs && { logprobs: texts.map(({ logprobs }) => [...logprobs]) }),
  }
}

/** The new tokens behind what each prompt begins with. */
function sequences(
  { beginnings }: Generation,
  { numReturnSequences: count }: GenerationSettings,
  tokens: readonly number[][],
): number[][] {
  return tokens.map((added, row) => [...beginnings[Math.floor(row / count)], ...added])
}
