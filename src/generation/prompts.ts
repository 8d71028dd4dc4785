/** @file The prompts of a generation, checked. */
import type { Prompts } from '../models/generator.ts'
import type { GenerationSettings } from './options.ts'

/**
 * The prompts as rows of token numbers.
 *
 * @param virtualTokens how many positions stand before every prompt; `maxPositions` is what they leave
 * @throws when there is none, one is empty or too long, or something in it is no token of the vocabulary
 */
export function checkPrompts(
  inputs: Prompts,
  { vocabSize, maxPositions }: Pick<GenerationSettings, 'vocabSize' | 'maxPositions'>,
  virtualTokens = 0,
): number[][] {
  if (!Array.isArray(inputs)) {
    throw new Error(
      `generate: the inputs are ${describe(inputs)}, expected token numbers: an array of them, or an array of such arrays ` +
        '(tokenizer.encode(text).inputIds)',
    )
  }
  const single = inputs.length === 0 || !Array.isArray(inputs[0])
  const rows = (single ? [inputs] : inputs) as readonly (readonly number[])[]
  return rows.map((row, i) => {
    const name = single ? 'the prompt' : `prompt ${i}`
    if (!Array.isArray(row))
      throw new Error(`generate: ${name} is ${describe(row)}, expected an array of token numbers`)
    if (row.length === 0) {
      throw new Error(`generate: ${name} is empty; it needs at least one token, such as the beginning-of-text token`)
    }
    if (row.length > maxPositions) {
      throw new Error(
        `generate: ${name} has ${row.length} tokens, the model was made for ${maxPositions + virtualTokens} ` +
          `(max_position_embeddings)${virtualTokens ? `, of which an adapter's virtual tokens take ${virtualTokens}` : ''}; ` +
          'shorten it',
      )
    }
    for (const [position, token] of row.entries()) {
      if (Number.isInteger(token) && token >= 0 && token < vocabSize) continue
      throw new Error(
        `generate: position ${position} of ${name} holds ${describe(token)}, expected a token of the vocabulary, ` +
          `0 to ${vocabSize - 1}`,
      )
    }
    return [...row]
  })
}

function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value)
  return typeof value === 'object' && value !== null ? `a ${value.constructor?.name ?? 'object'}` : String(value)
}
