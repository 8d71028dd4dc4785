/** @file "Did you mean": the names nearest to a mistyped one, for error messages. */

/** Levenshtein distance between two strings. */
export function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      row[j] = Math.min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1))
    }
    previous = row
  }
  return previous[b.length]
}

/** The `count` candidates nearest to `name`, best first; candidates that share nothing with it are left out. */
export function nearest(name: string, candidates: Iterable<string>, count = 3): string[] {
  const lower = name.toLowerCase()
  return [...new Set(candidates)]
    .map(candidate => {
      const other = candidate.toLowerCase()
      const contained = lower.length > 2 && other.includes(lower)
      return { candidate, distance: contained ? 0.5 : editDistance(lower, other) }
    })
    .filter(({ candidate, distance }) => distance < Math.max(candidate.length, name.length) * 0.7)
    .sort((a, b) => a.distance - b.distance || a.candidate.localeCompare(b.candidate))
    .slice(0, count)
    .map(({ candidate }) => candidate)
}

/** ` Did you mean "a" or "b"?`, or the empty string where nothing is near. */
export function didYouMean(name: string, candidates: Iterable<string>): string {
  const names = nearest(name, candidates)
  return names.length ? ` Did you mean ${names.map(n => `"${n}"`).join(' or ')}?` : ''
}
