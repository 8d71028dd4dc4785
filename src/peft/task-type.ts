/** @file The tasks an adapter can be made for, by PEFT's names. */

/** What a model with an adapter does. */
export const TaskType = {
  /** One label for a text. */
  SEQ_CLS: 'SEQ_CLS',
  /** A text from a text, by an encoder and a decoder. */
  SEQ_2_SEQ_LM: 'SEQ_2_SEQ_LM',
  /** The continuation of a text. */
  CAUSAL_LM: 'CAUSAL_LM',
  /** One label for each token. */
  TOKEN_CLS: 'TOKEN_CLS',
  /** A span of a text that answers a question. */
  QUESTION_ANS: 'QUESTION_ANS',
  /** The hidden states themselves. */
  FEATURE_EXTRACTION: 'FEATURE_EXTRACTION',
} as const

/** A task, as it stands in `adapter_config.json`. */
export type TaskType = (typeof TaskType)[keyof typeof TaskType]

/** The modules of a head that the base model does not have, which are trained and saved with the adapter. */
export const HEAD_MODULES: Readonly<Partial<Record<TaskType, readonly string[]>>> = {
  SEQ_CLS: ['classifier', 'score'],
  TOKEN_CLS: ['classifier', 'score'],
  QUESTION_ANS: ['qa_outputs'],
}
