/** @file What the Trainer needs of a model: models of checkpoints, models with adapters, and anyone's own. */
import type { Tensor } from '../graph/index.ts'
import type { InputSpecs, SymbolicInputs } from '../models/function.ts'
import type { Module } from '../nn/index.ts'

/** A model that can be trained. */
export interface TrainableModel extends Module {
  /** The configuration; `num_labels`, `vocab_size`, `max_position_embeddings` and `pad_token_id` are read where it has them. */
  readonly config?: object
  /** What the model is for, by PEFT's names. */
  readonly task?: string
  /** Whether the loss compares the rows of a batch with each other, so that one alone has none of its own. */
  readonly comparesRows?: boolean
  /** The inputs with their symbolic dimensions. */
  inputSpecs(): InputSpecs
  /**
   * What adapters put in front of every text: how many positions it takes, and whether a decoder predicts the first
   * token of the text behind it.
   */
  front?(): { positions: number; predicts: boolean }
  /** The computation: the mean loss over the targets where labels were given, and the scores. */
  // biome-ignore lint/suspicious/noExplicitAny: a model of one's own names its own inputs
  forward(inputs: any): { loss?: Tensor; logits?: Tensor }
  /** Writes the model (or its adapter) to a folder. */
  savePretrained(folder: string): Promise<unknown>
}

/** The loss that a model computes of its inputs. Throws where it computes none. */
export function lossOf(model: TrainableModel, inputs: SymbolicInputs): Tensor {
  const { loss } = model.forward(inputs)
  if (!loss) throw new Error("The model's forward returned no loss: give the examples labels")
  return loss
}

/** The tasks that the Trainer knows metrics for. */
export type TrainingTask = (typeof TRAINING_TASKS)[number]

/** The values of {@link TrainingTask}. */
export const TRAINING_TASKS = [
  'SEQ_CLS',
  'CAUSAL_LM',
  'SEQ_2_SEQ_LM',
  'TOKEN_CLS',
  'QUESTION_ANS',
  'MASKED_LM',
  'IMAGE_CLS',
] as const

/** Whether the labels of a task are tokens of the vocabulary. */
export function predictsTokens(task: TrainingTask | undefined): boolean {
  return task === 'CAUSAL_LM' || task === 'SEQ_2_SEQ_LM' || task === 'MASKED_LM'
}

/** What the Trainer reads from a configuration. */
export interface ModelFacts {
  num_labels?: number
  id2label?: Readonly<Record<number, string>>
  vocab_size?: number
  max_position_embeddings?: number
  pad_token_id?: number | null
  /** Present where positions are rotations: they have no end. */
  rope_parameters?: unknown
}

/** The facts that a model's configuration states; virtual tokens leave fewer positions. */
export function factsOf(model: TrainableModel): ModelFacts {
  const facts = (model.config ?? {}) as ModelFacts
  const { max_position_embeddings: limit } = facts
  const { positions } = model.front?.() ?? { positions: 0 }
  if (positions === 0 || limit === undefined) return facts
  return Object.create(facts, { max_position_embeddings: { value: limit - positions } })
}

/** Whether the labels of a model are those of the tokens behind each, so that a text's first label does not count. */
export function skipsFirstLabel(model: TrainableModel, task: string | undefined): boolean {
  return task === 'CAUSAL_LM' && !model.front?.().predicts
}
