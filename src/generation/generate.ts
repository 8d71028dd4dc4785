/** @file Continuing prompts. */
import type {
  FinishReason,
  GenerateInputs,
  GenerateOptions,
  GenerateResult,
  GenerativeModel,
} from '../models/generator.ts'
import { Generation } from './generation.ts'

/**
 * Continues prompts token by token, or answers them where the model has an encoder: greedily, or by drawing with
 * `doSample`. Which adapters are active is decided when this is called, and so are their values: training during a long
 * generation does not change it.
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
  const { onToken, ...rest } = options
  const generation = new Generation(model, inputs, rest)
  const newTokens: number[][] = generation.prompts.map(() => [])
  const finishReasons: FinishReason[] = []
  for await (const step of generation.steps()) {
    for (const { row, token, finished } of step) {
      newTokens[row].push(token)
      if (finished) finishReasons[row] = finished
      await onToken?.(token, row)
    }
  }
  const sequences = generation.beginnings.map((tokens, row) => [...tokens, ...newTokens[row]])
  return { sequences, newTokens, finishReasons }
}
