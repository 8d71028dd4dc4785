/** @file A prompt among tokens: what is inserted into a sequence, into its masks and labels, and taken out of outputs. */
import {
  add,
  concat,
  type Dim,
  expand,
  greaterOrEqual,
  maximum,
  slice,
  type Tensor,
  where,
} from '../../../graph/index.ts'
import type { ModelInputs, ModelOutput } from '../../../models/index.ts'
import type { Entered, ModelFacts } from '../../method.ts'
import type { AdapterHubPromptConfig } from './config.ts'

/** How many tokens stand in front of the prompt. */
const placeOf = ({ combine }: AdapterHubPromptConfig) => (combine === 'prefix' ? 0 : 1)

/** A sequence `[batch, length, …]` with `rows` behind its first `at` positions. */
function insert(sequence: Tensor, at: number, rows: Tensor): Tensor {
  return at === 0 ? concat([rows, sequence], 1) : concat([slice(sequence, 1, 0, at), rows, slice(sequence, 1, at)], 1)
}

/** The embedded sequence `[batch, length, hidden]` with a prompt `[rows, hidden]` in it. */
export function insertPrompt(config: AdapterHubPromptConfig, embedded: Tensor, prompt: Tensor): Tensor {
  const [batch, , width] = embedded.shape
  return insert(embedded, placeOf(config), expand(prompt, [batch, config.promptLength, width]))
}

/**
 * The inputs of an encoder whose embedded sequence gets a prompt: the prompt is always seen, has no labels, and is taken
 * out of outputs that belong to single tokens. Tokens keep their positions and segments.
 */
export function enterPrompted(inputs: ModelInputs, config: AdapterHubPromptConfig, { task }: ModelFacts): Entered {
  const { promptLength: length } = config
  const at = placeOf(config)
  const columns = (rows: Tensor | undefined, value: number) => {
    if (!rows) return undefined
    const shape: Dim[] = [rows.shape[0], length]
    return insert(rows, at, expand(rows.graph.constant(value, 'int64', [1, 1]), shape))
  }
  const moved = (positions: Tensor | undefined) => {
    if (!positions) return undefined
    const inside = maximum(positions, 0)
    const isBehind = greaterOrEqual(inside, inside.graph.constant(at, 'int64'))
    return where(isBehind, add(inside, length), inside)
  }
  const entered = { ...inputs, attention_mask: columns(inputs.attention_mask, 1) }
  const leave = (output: ModelOutput) => withoutPrompt(output, at, length)
  switch (task) {
    case 'TOKEN_CLS':
    case 'MASKED_LM':
      return { inputs: { ...entered, labels: columns(inputs.labels, -100) }, leave }
    case 'QUESTION_ANS': {
      const { start_positions, end_positions } = inputs
      return {
        inputs: { ...entered, start_positions: moved(start_positions), end_positions: moved(end_positions) },
        leave,
      }
    }
    default:
      return { inputs: entered }
  }
}

/** The outputs of the caller's tokens alone. */
function withoutPrompt(output: ModelOutput, at: number, length: number): ModelOutput {
  const result = { ...output }
  for (const name of ['logits', 'start_logits', 'end_logits'] as const) {
    const scores = output[name]
    if (!scores) continue
    const behind = slice(scores, 1, at + length)
    result[name] = at === 0 ? behind : concat([slice(scores, 1, 0, at), behind], 1)
  }
  return result
}
