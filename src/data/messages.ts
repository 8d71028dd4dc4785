/** @file Small pieces of error messages. */

/** `"a", "b"`, or `none`. */
export function list(names: Iterable<string>): string {
  const quoted = [...names].map(name => JSON.stringify(name))
  return quoted.length ? quoted.join(', ') : 'none'
}

/** `1 row`, `2 rows`. */
export function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`
}
