/** @file The prompts of a generation, checked. */
import type { Shape } from '../graph/index.ts'
import type { GenerateInputs, Recordings } from '../models/generator.ts'
import type { TensorData } from '../runtime/index.ts'
import type { GenerationSettings } from './options.ts'

/**
 * The prompts as rows of token numbers.
 *
 * @param virtualTokens how many positions stand before every prompt; `maxPositions` is what they leave
 * @throws when there is none, one is empty or too long, or something in it is no token of the vocabulary
 */
export function checkPrompts(
  inputs: GenerateInputs,
  { vocabSize, maxPositions }: Pick<GenerationSettings, 'vocabSize' | 'maxPositions'>,
  virtualTokens = 0,
): number[][] {
  if (isRecordings(inputs)) {
    throw new Error('generate: got input_features for a model of text; give the token numbers of a prompt')
  }
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

/** Whether recordings were given in the place of prompts. */
export function isRecordings(inputs: GenerateInputs): inputs is Recordings {
  return typeof inputs === 'object' && inputs !== null && 'input_features' in inputs
}

/**
 * The spectrograms of recordings.
 *
 * @param shape what the model takes, `[batch, mels, frames]`
 * @throws when they are none, or of another shape
 */
export function checkRecordings(inputs: GenerateInputs, shape: Shape): TensorData {
  const expected = `float32 [recordings, ${shape.slice(1).join(', ')}]`
  if (!isRecordings(inputs)) {
    throw new Error(
      `generate: the inputs are ${describe(inputs)}, but the model hears: give { input_features }, ${expected}, which a ` +
        'WhisperFeatureExtractor makes; what the decoder reads first is the option decoderInputIds',
    )
  }
  const { input_features: features } = inputs
  const [count, ...rest] = features.dims
  if (features.dtype === 'float32' && count > 0 && rest.join() === shape.slice(1).join()) return features
  throw new Error(
    `generate: input_features are ${features.dtype} [${features.dims.join(', ')}], expected ${expected}; make them with ` +
      'the WhisperFeatureExtractor of the model',
  )
}

function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value)
  return typeof value === 'object' && value !== null ? `a ${value.constructor?.name ?? 'object'}` : String(value)
}
