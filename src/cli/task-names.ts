/** @file The values of `--task`. */

/** The tasks that can be trained and evaluated, by their names on the command line. */
export const TASKS = [
  'seq_cls',
  'causal_lm',
  'seq_2_seq_lm',
  'token_cls',
  'question_ans',
  'image_cls',
  'embedding',
] as const

/** The tasks that methods can be compared on. */
export const COMPARED_TASKS: readonly TaskOption[] = ['seq_cls', 'causal_lm']

/** One of {@link TASKS}. */
export type TaskOption = (typeof TASKS)[number]

/** The tasks that a model can be described for. */
export const DESCRIBED_TASKS = [...TASKS, 'masked_lm', 'feature_extraction'] as const

/** One of {@link DESCRIBED_TASKS}. */
export type DescribedTaskOption = (typeof DESCRIBED_TASKS)[number]
