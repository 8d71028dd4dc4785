/** @file Virtual tokens in front of a text: embeddings, masks, positions and labels of a longer sequence. */
import {
  add,
  concat,
  type Dim,
  expand,
  type Graph,
  max,
  maximum,
  range,
  slice,
  sub,
  type Tensor,
  unsqueeze,
} from '../../graph/index.ts'
import type { ModelInputs, ModelOutput, PreTrainedModel } from '../../models/index.ts'
import type { Entered, ModelFacts } from '../method.ts'

/** `count` columns of `value` in front of `rows`, an int64 matrix; undefined stays undefined. */
export function inFront(rows: Tensor | undefined, count: number, value: number): Tensor | undefined {
  if (!rows) return undefined
  return concat([expand(rows.graph.constant(value, 'int64', [1, 1]), [rows.shape[0], count]), rows], 1)
}

/**
 * The inputs with virtual tokens in front of the text; of a model with an encoder, in front of what the encoder reads.
 *
 * As in PEFT they are always seen, have no label and the segment 0, and a decoder's logits include theirs. Positions
 * that were given go on behind theirs (PEFT drops them). Where outputs belong to single tokens of the caller's text
 * (TOKEN_CLS, QUESTION_ANS, MASKED_LM) they and the labels are aligned with that text; PEFT forms the loss of
 * TOKEN_CLS from sequences of different lengths, and that of QUESTION_ANS from positions that the virtual tokens have
 * moved away. Segments are ignored, as PEFT ignores them, for CAUSAL_LM, SEQ_2_SEQ_LM and FEATURE_EXTRACTION.
 *
 * @param prompt `[1 or batch, length, hidden]`
 */
export function enterWithPrompt(inputs: ModelInputs, prompt: Tensor, { tree, task, config }: ModelFacts): Entered {
  const length = prompt.shape[1] as number
  const attention_mask = inFront(inputs.attention_mask, length, 1)
  if (config?.is_encoder_decoder) {
    // The encoder has read them already where its result is at hand.
    if (inputs.encoder_hidden_states || inputs.cache?.cross.length) return { inputs: { ...inputs, attention_mask } }
    return { inputs: { ...inputs, ...promptedTokens(inputs, prompt, tree), attention_mask } }
  }
  if (inputs.cache?.continues) return { inputs }
  const entered: ModelInputs = {
    ...inputs,
    ...promptedTokens(inputs, prompt, tree),
    attention_mask,
    position_ids: behind(inputs.position_ids, length),
    token_type_ids: hasSegments(task) ? inFront(inputs.token_type_ids, length, 0) : undefined,
  }
  switch (task) {
    case 'CAUSAL_LM':
      return { inputs: { ...entered, labels: inFront(inputs.labels, length, -100) } }
    case 'TOKEN_CLS':
    case 'MASKED_LM':
      return {
        inputs: { ...entered, labels: inFront(inputs.labels, length, -100) },
        leave: output => aligned(output, length),
      }
    case 'QUESTION_ANS':
      return {
        inputs: {
          ...entered,
          start_positions: moved(inputs.start_positions, length),
          end_positions: moved(inputs.end_positions, length),
        },
        leave: output => aligned(output, length),
      }
    default:
      return { inputs: entered }
  }
}

/** Whether PEFT's model for a task takes segments. */
export function hasSegments(task: ModelFacts['task']): boolean {
  return task !== 'CAUSAL_LM' && task !== 'SEQ_2_SEQ_LM' && task !== 'FEATURE_EXTRACTION'
}

/** The embedded tokens behind the prompt. */
function promptedTokens(inputs: ModelInputs, prompt: Tensor, tree: ModelFacts['tree']) {
  const { input_ids, inputs_embeds } = inputs
  if (!input_ids && !inputs_embeds) {
    throw new Error('forward: got neither input_ids nor inputs_embeds, expected exactly one of them')
  }
  const embedding = (tree as PreTrainedModel).getInputEmbeddings() as { forward(ids: Tensor): Tensor }
  const tokens = inputs_embeds ?? embedding.forward(input_ids!)
  const [batch] = tokens.shape
  const shape: Dim[] = [batch, ...prompt.shape.slice(1)]
  return { input_ids: undefined, inputs_embeds: concat([expand(prompt, shape), tokens], 1) }
}

/** Positions of which the virtual tokens have the first, counted from the lowest that was given. */
function behind(positions: Tensor | undefined, length: number): Tensor | undefined {
  if (!positions) return undefined
  const { graph } = positions
  const lowest = sub(0, max(sub(0, positions), [1], true))
  return concat([add(lowest, virtualPositions(graph, length)), add(positions, length)], 1)
}

const virtualPositions = (graph: Graph, length: number) => unsqueeze(range(graph, length), [0])

/** Positions in the text as positions behind the virtual tokens; those before the text lie at its first token. */
function moved(positions: Tensor | undefined, length: number): Tensor | undefined {
  return positions && add(maximum(positions, 0), length)
}

/** The outputs of the caller's tokens alone. */
function aligned(output: ModelOutput, length: number): ModelOutput {
  const result = { ...output }
  for (const name of ['logits', 'start_logits', 'end_logits'] as const) {
    const scores = output[name]
    if (scores) result[name] = slice(scores, 1, length)
  }
  return result
}
