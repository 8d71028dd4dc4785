/** @file Exit codes, and the errors that decide them. */

/** What the process returns: done, failed, or called wrongly. */
export const EXIT = { success: 0, failed: 1, usage: 2 } as const

/** A command that was called wrongly: an unknown option, a bad value, a missing argument. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** A mistake in a run file, or in what `--set` says in its words: the message names options as files do. */
export class RunFileError extends UsageError {}

/** The library's option names in messages, as they are called on the command line. */
const FLAGS: readonly [RegExp, string][] = [
  [/\boverwriteOutputDir: true/g, '--overwrite'],
  [/\bresumeFromCheckpoint: true/g, '--resume'],
  [/\bsaveTotalLimit\b/g, '--save-total-limit'],
  [/\bonNonFinite: '(\w+)'/g, '--on-non-finite $1'],
  [/\bonSpike: '(\w+)'/g, '--on-spike $1'],
  [/\bspikeFactor\b/g, '--spike-factor'],
  [/\bmaxBadSteps\b/g, '--max-bad-steps'],
  [/\bcacheActivations(?: is|:) '?(\w+)'?/g, '--cache-activations $1'],
  [/\bcacheActivationsMemory\b/g, '--set training.cacheActivationsMemory'],
  [/\bignoreMismatchedSizes: true/g, '--ignore-mismatched-sizes'],
  [/\boverlong: '(\w+)'/g, '--overlong $1'],
  [/\bskipBad: true/g, '--skip-bad'],
  [/\bcolumns: \{ (\w+): '\.\.\.' \}/g, '--columns $1=…'],
  [/\bmaxLength: (\d+)/g, '--max-length $1'],
  [/\bmaxLength\b/g, '--max-length'],
  [/\boutputDir\b/g, '--output'],
  [/\blearningRate\b/g, '--learning-rate'],
  [/\bwarmupSteps\b/g, '--warmup-ratio'],
  [/\bmaxGradNorm\b/g, '--max-grad-norm'],
  [/\bnumLabels\b/g, '--labels'],
  [/\bmetricForBestModel\b/g, '--metric'],
  [/\btargetModules\b/g, '--set target_modules'],
  [/\bexcludeModules\b/g, '--set exclude_modules'],
  [/\bmodulesToSave\b/g, '--set modules_to_save'],
  [/\blayersToTransform\b/g, '--set layers_to_transform'],
]

/** A message of the library in the words of the command line. */
export function inFlags(message: string): string {
  return FLAGS.reduce((text, [pattern, flag]) => text.replace(pattern, flag), message)
}

/** What an error says, for people: its message, without the stack. */
export function messageOf(error: unknown): string {
  if (error instanceof RunFileError) return error.message
  return inFlags(error instanceof Error ? error.message : String(error))
}
