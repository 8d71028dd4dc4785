/** @file Regular expressions as Python writes them in configurations. */

/** Compiles a Python regular expression that must match a whole name. Throws when it is not valid. */
export function fullMatch(pattern: string, option: string): RegExp {
  try {
    return new RegExp(`^(?:${pattern.replaceAll('(?P<', '(?<')})$`)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new Error(`${option}: "${pattern}" is not a valid regular expression: ${reason}`, { cause })
  }
}

/** The first key of a pattern table that matches the end of `path`, as PEFT looks up ranks and alphas. */
export function patternKey(keys: Iterable<string>, path: string, option: string): string | undefined {
  for (const key of keys) if (fullMatch(`(?:.*\\.)?(?:${key})`, option).test(path)) return key
  return undefined
}
