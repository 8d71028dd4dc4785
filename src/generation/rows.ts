/** @file Continuing prompts token by token, each row by itself. */
import { type ChosenToken, TokenChooser } from './chooser.ts'
import type { Generation } from './generation.ts'
import type { GenerationSettings } from './options.ts'

/** A new token of one row. */
export interface NewToken extends ChosenToken {
  row: number
}

/**
 * The new tokens of a generation without beams: one array a step, with those of the rows that have not ended. With
 * `numReturnSequences` the rows of the first prompt come first.
 */
export async function* newTokens(
  generation: Generation,
  settings: GenerationSettings,
): AsyncGenerator<NewToken[], void> {
  const count = settings.numReturnSequences
  await using prompts = await generation.read(settings)
  const { session } = prompts
  const origins = generation.prompts.flatMap((_, prompt) => Array<number>(count).fill(prompt))
  const rows = origins.map((prompt, row) => new TokenChooser({ ...prompts.chooserOptions(prompt), row }))
  let logits = origins.map(prompt => prompts.logits[prompt])
  /** The rows that the session has. */
  let active = [...rows.keys()]
  const newest: number[] = []
  let isFirst = true
  while (true) {
    const step: NewToken[] = []
    for (const [i, row] of active.entries()) {
      if (rows[row].finished) continue
      const chosen = rows[row].next(logits[i])
      newest[row] = chosen.token
      step.push({ row, ...chosen })
    }
    yield step
    const left = active.filter(row => !rows[row].finished)
    if (left.length === 0) return
    settings.signal?.throwIfAborted()
    // Moving rows costs about as much as a step: it is worth it when many have ended.
    const next = left.length <= active.length / 2 ? left : active
    if (isFirst) await session.select(next.map(row => origins[row]))
    else if (next !== active) await session.select(next.map(row => active.indexOf(row)))
    isFirst = false
    active = next
    logits = await session.step(active.map(row => newest[row]))
  }
}
