/** @file Stop strings taken out of texts that come in pieces. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { StopStringFilter } from './stop-strings.ts'

/** Every piece that comes out, what is held back at last included. */
function filtered(strings: readonly string[], pieces: readonly string[]): { pieces: string[]; stopped: boolean } {
  const filter = new StopStringFilter(strings)
  const out = pieces.map(piece => filter.push(piece))
  return { pieces: [...out, filter.finish()], stopped: filter.stopped }
}

describe('StopStringFilter', () => {
  it('holds back what could be the beginning, and no more', () => {
    expect(filtered(['END'], ['a', 'E', 'N', 'x', 'EN'])).toEqual({
      pieces: ['a', '', '', 'ENx', '', 'EN'],
      stopped: false,
    })
  })

  it('takes out the first that comes, and what follows', () => {
    expect(filtered(['\n\n', 'User:'], ['ab\n', 'Us', 'er: x\n\n', 'y'])).toEqual({
      pieces: ['ab', '\n', '', '', ''],
      stopped: true,
    })
  })

  it('lets everything through without strings', () => {
    expect(filtered([], ['a', 'b'])).toEqual({ pieces: ['a', 'b', ''], stopped: false })
  })

  it('gives the text before the first stop string, however it is cut', () => {
    const text = fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 30 }).map(parts => parts.join(''))
    const strings = fc.array(
      text.filter(string => string !== '' && string.length < 5),
      { minLength: 1, maxLength: 3 },
    )
    fc.assert(
      fc.property(text, strings, fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 40 }), (whole, stops, sizes) => {
        const pieces: string[] = []
        let at = 0
        for (const size of sizes) pieces.push(whole.slice(at, (at += size)))
        pieces.push(whole.slice(at))
        const { pieces: out, stopped } = filtered(stops, pieces)
        // The strings that a piece at a time completes first.
        let end = whole.length
        let seen = ''
        for (const piece of pieces) {
          seen += piece
          const found = stops.map(string => seen.indexOf(string)).filter(place => place >= 0)
          if (found.length) {
            end = Math.min(...found)
            break
          }
        }
        expect(out.join('')).toBe(whole.slice(0, end))
        expect(stopped).toBe(end < whole.length || stops.some(string => whole.includes(string)))
      }),
    )
  })
})
