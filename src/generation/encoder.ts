/** @file Reads the prompts of a generation with the encoder of a model. */
import type { TensorData } from '../runtime/index.ts'
import type { Program } from './programs.ts'

/** What an encoder is told. */
export interface EncoderOptions {
  padTokenId: number
  /** The values of the parameters that vary. */
  parameters: Readonly<Record<string, TensorData>>
  /** Further inputs. */
  inputs?: Readonly<Record<string, TensorData>>
}

/**
 * What every step of the decoder is given of the prompts: their mask, and their keys and values. Shorter prompts are
 * filled up on the right, where positions that count from the front do not move.
 */
export async function encodePrompts(
  program: Program,
  prompts: readonly (readonly number[])[],
  { padTokenId, parameters, inputs }: EncoderOptions,
): Promise<Record<string, TensorData>> {
  const longest = Math.max(...prompts.map(prompt => prompt.length))
  const filled = (fill: (prompt: readonly number[], position: number) => number): TensorData => {
    const values = prompts.flatMap(prompt => Array.from({ length: longest }, (_, i) => BigInt(fill(prompt, i))))
    return { dtype: 'int64', dims: [prompts.length, longest], data: BigInt64Array.from(values) }
  }
  const attention_mask = filled((prompt, i) => (i < prompt.length ? 1 : 0))
  const input_ids = filled((prompt, i) => prompt[i] ?? padTokenId)
  return { attention_mask, ...(await program.run({ ...inputs, input_ids, attention_mask, ...parameters })) }
}
