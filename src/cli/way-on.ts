/** @file What the error that ends a training says of the checkpoint that it can go on from. */
import { stat } from 'node:fs/promises'
import { Checkpoints } from '../training/checkpoints.ts'
import { messageOf, UsageError } from './exit.ts'

/**
 * The error, with the last checkpoint and the way on where it says nothing of them and there is one that this call wrote
 * or was to go on from.
 *
 * @param started when the call began, in milliseconds since 1970
 */
export async function withWayOn(
  error: unknown,
  { output, resume }: { output: string; resume: boolean },
  started: number,
): Promise<unknown> {
  const isTold =
    error instanceof UsageError || (error as Error).name === 'AbortError' || /checkpoint/i.test(messageOf(error))
  if (isTold) return error
  const checkpoints = new Checkpoints(output)
  const [step] = await checkpoints.steps().catch(() => [])
  if (step === undefined) return error
  const folder = checkpoints.path(step)
  const written = await stat(folder).catch(() => undefined)
  if (!written || (!resume && written.mtimeMs < started)) return error
  const told = messageOf(error)
  const end = /[.!?]$/.test(told) ? '' : '.'
  return new Error(`${told}${end} ${folder} is complete: the same command with --resume goes on from there.`, {
    cause: error,
  })
}
