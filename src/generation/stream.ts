/** @file Continuing one prompt as text that appears piece by piece. */
import { type Tokenizer, TokenizerDecodeStream } from '../data/index.ts'
import type { GenerativeModel, Recordings, StreamOptions } from '../models/generator.ts'
import { Generation } from './generation.ts'
import { modelTokenizer } from './model-files.ts'
import { newTokens } from './rows.ts'
import { StopStringFilter } from './stop-strings.ts'

/**
 * Continues one prompt and gives the new text piece by piece, each as soon as its characters are complete. The pieces
 * joined are the decoded new tokens, with `includeStopString: false` those before a stop string. Leaving the loop ends
 * the generation. Which adapters are active is decided when this is called.
 *
 * @param options.tokenizer by default the one in the folder that the model was loaded from
 * @throws as `generate`; also for several prompts or texts, for beams, and when there is no tokenizer
 * @example
 * for await (const piece of stream(model, ids, { tokenizer, maxNewTokens: 80 })) process.stdout.write(piece)
 */
export function stream(
  model: GenerativeModel,
  inputs: readonly number[] | Recordings,
  options: StreamOptions = {},
): AsyncIterableIterator<string> {
  const { skipSpecialTokens = true, includeStopString = true, ...rest } = options
  const generation = new Generation(model, inputs, rest)
  if (generation.prompts.length !== 1) {
    throw new Error(
      `stream: got ${generation.prompts.length} prompts, expected the tokens of one; generate with onToken takes several`,
    )
  }
  return pieces(generation, model, { ...rest, skipSpecialTokens, includeStopString })
}

async function* pieces(
  generation: Generation,
  model: GenerativeModel,
  { tokenizer, skipSpecialTokens, includeStopString, onToken }: StreamOptions,
): AsyncGenerator<string, void> {
  const settings = await generation.settings()
  refuseSeveral(settings)
  const decoder = tokenizer ?? (await modelTokenizer(model))
  // It only decodes.
  const text = new TokenizerDecodeStream(decoder as Tokenizer, { skipSpecialTokens })
  const filter = new StopStringFilter(includeStopString ? [] : settings.stopStrings)
  for await (const [{ token, logprob }] of newTokens(generation, settings)) {
    await onToken?.(token, 0, logprob)
    const piece = filter.push(text.push(token))
    if (piece) yield piece
    if (filter.stopped) return
  }
  const rest = filter.push(text.finish()) + filter.finish()
  if (rest) yield rest
}

/** Refuses what does not give one text from its beginning on; the folder's file may ask for it. */
function refuseSeveral({ numBeams, numReturnSequences }: { numBeams: number; numReturnSequences: number }): void {
  for (const [name, value] of Object.entries({ numBeams, numReturnSequences })) {
    if (value === 1) continue
    throw new Error(
      `stream: ${name} is ${value}, but a stream is one text that is written from its beginning on; ` +
        `give ${name}: 1, or call generate`,
    )
  }
}
