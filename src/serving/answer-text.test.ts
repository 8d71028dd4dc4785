/** @file Text of answers: what may become a stop string is held back, and calls of tools are found however they come. */
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Tokenizer } from '../data/index.ts'
import { characters } from '../generation/testing/tiny.ts'
import { AnswerText, beginningLength } from './answer-text.ts'
import { ToolCallParser } from './tool-calls.ts'

const tokensOf = (text: string) => [...text].map(character => character.charCodeAt(0) - 48)

function write(text: string, stops: string[], reason: 'length' | 'stop_string' | 'eos'): string[] {
  const answer = new AnswerText(characters as unknown as Tokenizer, stops)
  const tokens = tokensOf(text)
  return tokens.map((token, i) => answer.push(token, i === tokens.length - 1 ? reason : undefined))
}

describe('the text of an answer', () => {
  it('comes token by token', () => {
    expect(write('abc', [], 'length')).toEqual(['a', 'b', 'c'])
  })

  it('leaves out the token that ends a text', () => {
    expect(write('abc', [], 'eos')).toEqual(['a', 'b', ''])
  })

  it('leaves out the stop string, and shows nothing of it before', () => {
    expect(write('abEND', ['END'], 'stop_string')).toEqual(['a', 'b', '', '', ''])
  })

  it('shows what only began like a stop string', () => {
    expect(write('aENaEN', ['END'], 'length')).toEqual(['a', '', '', 'ENa', '', 'EN'])
  })

  it('is the text before the first stop string, whatever the texts', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 30 })
    fc.assert(
      fc.property(
        text,
        fc.array(fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 4 })),
        (all, stops) => {
          fc.pre(all !== '')
          const ends = stops.map(stop => all.indexOf(stop)).flatMap((at, i) => (at < 0 ? [] : [at + stops[i].length]))
          const written = ends.length ? all.slice(0, Math.min(...ends)) : all
          const starts = stops.map(stop => written.indexOf(stop)).filter(at => at >= 0)
          const expected = ends.length ? written.slice(0, Math.min(...starts)) : all
          expect(write(written, stops, ends.length ? 'stop_string' : 'length').join('')).toBe(expected)
        },
      ),
    )
  })

  it('knows how much of an end may be a beginning', () => {
    expect(beginningLength('xxE', ['END'])).toBe(1)
    expect(beginningLength('EEN', ['END', 'NO'])).toBe(2)
    expect(beginningLength('END', ['END'])).toBe(0)
  })
})

function parse(pieces: readonly string[]) {
  const parser = new ToolCallParser()
  const parts = [...pieces.map(piece => parser.push(piece)), parser.finish()]
  return {
    text: parts.map(part => part.text).join(''),
    calls: parts.flatMap(part => part.calls).map(call => [call.function.name, call.function.arguments]),
  }
}

const CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Linz"}}\n</tool_call>'

describe('calls of tools', () => {
  it('are found within their tags, with the white space around them', () => {
    expect(parse([`Let me see.\n${CALL}\n${CALL}\n`])).toEqual({
      text: 'Let me see.',
      calls: Array(2).fill(['weather', '{"city":"Linz"}']),
    })
  })

  it('are found wherever the answer is cut', () => {
    const all = `One. ${CALL} Two. <tool_call>not JSON</tool_call> < three`
    const whole = parse([all])
    expect(whole).toEqual({
      text: 'One. Two. <tool_call>not JSON</tool_call> < three'.replace('One. Two', 'One. Two'),
      calls: [['weather', '{"city":"Linz"}']],
    })
    fc.assert(
      fc.property(fc.array(fc.nat(all.length)), cuts => {
        const places = [0, ...cuts.sort((a, b) => a - b), all.length]
        expect(parse(places.slice(1).map((end, i) => all.slice(places[i], end)))).toEqual(whole)
      }),
    )
  })

  it('count without the closing tag where their JSON is whole, and else stay text', () => {
    expect(parse([CALL.replace('</tool_call>', '')]).calls).toHaveLength(1)
    expect(parse(['<tool_call>{"name": "wea'])).toEqual({ text: '<tool_call>{"name": "wea', calls: [] })
    expect(parse(['<tool_call>{"title": "x"}</tool_call>']).calls).toEqual([])
    expect(parse(['plain \n'])).toEqual({ text: 'plain \n', calls: [] })
  })
})
