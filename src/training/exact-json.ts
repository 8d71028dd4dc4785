/** @file JSON that gives back every number as it was: NaN and infinities too, which JSON itself has no form for. */

const SPECIAL: readonly number[] = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]

/** The text of a value, for {@link fromJson}; numbers that are not finite are written as strings. */
export function toJson(value: unknown): string {
  const replace = (_: string, item: unknown) => (typeof item === 'number' && !Number.isFinite(item) ? `${item}` : item)
  return `${JSON.stringify(value, replace, 2)}\n`
}

/** The value of a text. */
export function fromJson(text: string): unknown {
  return JSON.parse(text, (_, item) => SPECIAL.find(number => item === `${number}`) ?? item)
}
