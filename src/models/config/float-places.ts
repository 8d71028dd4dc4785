/** @file Numbers that a JSON text spells as floats although they are whole: `0.0`, which `JSON.parse` makes 0. */

/** The places of such numbers: the keys and positions on the way to each, as {@link placeOf} writes them. */
export type FloatPlaces = ReadonlySet<string>

/** A place within the one at `parent`; the outermost value's own is empty. */
export const placeOf = (parent: string, key: string | number): string => `${parent}/${JSON.stringify(String(key))}`

/** Stands before the text of a number; no text of a configuration begins so. */
const MARK = '\u0000'

/** Texts first, so that what looks like a number in them is none. */
const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g

/** Where valid JSON has whole numbers that are spelled as floats. */
export function floatPlaces(text: string): FloatPlaces {
  const marked = text.replace(TOKEN, token =>
    !token.startsWith('"') && /[.eE]/.test(token) && Number.isInteger(Number(token))
      ? JSON.stringify(MARK + token)
      : token,
  )
  const found = new Set<string>()
  if (marked !== text) gather(JSON.parse(marked), '', found)
  return found
}

function gather(value: unknown, place: string, found: Set<string>): void {
  if (typeof value === 'string' && value.startsWith(MARK)) found.add(place)
  if (typeof value !== 'object' || value === null) return
  for (const [key, item] of Object.entries(value)) gather(item, placeOf(place, key), found)
}
