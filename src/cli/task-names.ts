/** @file The values of `--task`. */

/** The tasks by their names on the command line. */
export const TASKS = ['seq_cls', 'causal_lm'] as const

/** One of {@link TASKS}. */
export type TaskOption = (typeof TASKS)[number]
