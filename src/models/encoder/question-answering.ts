/** @file An encoder that finds the span of a text which answers a question. */
import { add, crossEntropy, dimValue, less, maximum, mul, select, type Tensor, where } from '../../graph/index.ts'
import { Dropout, type Linear } from '../../nn/index.ts'
import { createLinear } from '../init.ts'
import type { ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'
import type { ModelConfig } from '../pretrained-model.ts'
import { EncoderWithHead } from './pretrained.ts'

const IGNORED_POSITION = -100

/** An encoder with two scores a token: how well an answer starts and ends there. */
export abstract class EncoderForQuestionAnswering<C extends ModelConfig> extends EncoderWithHead<C> {
  dropout: Dropout
  qa_outputs: Linear

  constructor(config: C) {
    super(config)
    if (config.num_labels !== 2) {
      throw new Error(
        `${config.label}: question answering scores the start and the end of an answer, so num_labels must be 2, ` +
          `not ${config.num_labels}; set numLabels to 2`,
      )
    }
    this.dropout = new Dropout(this.headDropout(config))
    this.qa_outputs = createLinear(config.hidden_size, 2, config.initializer_range)
  }

  /** The dropout before the scores. */
  protected headDropout(_config: C): number {
    return 0
  }

  get task(): ModelTask {
    return 'QUESTION_ANS'
  }

  forward(inputs: ModelInputs): ModelOutput {
    const { start_positions, end_positions } = inputs
    const output = this.baseModel.forward(inputs)
    const scores = this.qa_outputs.forward(this.dropout.forward(output.last_hidden_state!))
    const [start_logits, end_logits] = [0, 1].map(side => select(scores, 2, side))
    if (!start_positions || !end_positions) return { ...output, start_logits, end_logits }
    const losses = add(spanLoss(start_logits, start_positions), spanLoss(end_logits, end_positions))
    return { ...output, start_logits, end_logits, loss: mul(losses, 0.5) }
  }
}

/** Answers that lie behind the end of the text do not count; as in Transformers those before it lie at the first token. */
function spanLoss(logits: Tensor, positions: Tensor): Tensor {
  const inside = less(positions, dimValue(logits.graph, logits.shape[1]))
  return crossEntropy(logits, where(inside, maximum(positions, 0), IGNORED_POSITION))
}
