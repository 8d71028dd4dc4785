/** @file Continuing one prompt as text that appears piece by piece. */
import { type Tokenizer, TokenizerDecodeStream } from '../data/index.ts'
import type { GenerativeModel, Recordings, StreamOptions } from '../models/generator.ts'
import { Generation } from './generation.ts'
import { modelTokenizer } from './model-files.ts'

/**
 * Continues one prompt and gives the new text piece by piece, each as soon as its characters are complete. The pieces
 * joined are the decoded new tokens. Leaving the loop ends the generation. Which adapters are active is decided when
 * this is called.
 *
 * @param options.tokenizer by default the one in the folder that the model was loaded from
 * @throws as `generate`; also for several prompts, and when there is no tokenizer
 * @example
 * for await (const piece of stream(model, ids, { tokenizer, maxNewTokens: 80 })) process.stdout.write(piece)
 */
export function stream(
  model: GenerativeModel,
  inputs: readonly number[] | Recordings,
  options: StreamOptions = {},
): AsyncIterableIterator<string> {
  const { skipSpecialTokens = true, onToken, ...rest } = options
  const generation = new Generation(model, inputs, rest)
  if (generation.prompts.length !== 1) {
    throw new Error(
      `stream: got ${generation.prompts.length} prompts, expected the tokens of one; generate with onToken takes several`,
    )
  }
  return pieces(generation, model, { ...options, skipSpecialTokens })
}

async function* pieces(
  generation: Generation,
  model: GenerativeModel,
  { tokenizer, skipSpecialTokens, onToken }: StreamOptions,
): AsyncGenerator<string, void> {
  const decoder = tokenizer ?? (await modelTokenizer(model))
  // It only decodes.
  const text = new TokenizerDecodeStream(decoder as Tokenizer, { skipSpecialTokens })
  for await (const [{ token }] of generation.steps()) {
    await onToken?.(token, 0)
    const piece = text.push(token)
    if (piece) yield piece
  }
  const rest = text.finish()
  if (rest) yield rest
}
