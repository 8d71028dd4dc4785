/** @file Continuing prompts by beam search, all of them in one batch. */
import { BeamSearch, type Hypothesis } from './beam-search.ts'
import type { Generation } from './generation.ts'
import type { GenerationSettings } from './options.ts'

/** The best texts of each prompt, `numReturnSequences` of them, the best first. */
export async function searchBeams(generation: Generation, settings: GenerationSettings): Promise<Hypothesis[][]> {
  await using prompts = await generation.read(settings)
  const { session } = prompts
  const searches = generation.prompts.map((_, row) => new BeamSearch({ ...prompts.chooserOptions(row), row }))
  let logits = prompts.logits
  /** The searches that go on, and the first of the session's rows that each has. */
  let active = searches.map((search, row) => ({ search, row, beams: 1 }))
  while (true) {
    const going: typeof active = []
    const from: number[] = []
    const tokens: number[] = []
    for (const { search, row, beams } of active) {
      const next = search.next(logits.slice(row, row + beams))
      if (!next) continue
      going.push({ search, row: from.length, beams: next.length })
      from.push(...next.map(({ beam }) => row + beam))
      tokens.push(...next.map(({ token }) => token))
    }
    if (going.length === 0) return searches.map(search => search.best(settings.numReturnSequences))
    settings.signal?.throwIfAborted()
    await session.select(from)
    logits = await session.step(tokens)
    active = going
  }
}
