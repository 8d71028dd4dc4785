import { describe, expect, it } from 'vitest'
import { formatBytes, formatMetric, formatSeconds, shellQuote } from './format.ts'

describe('numbers for people', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.0 kB'],
    [135_544, '136 kB'],
    [999_999, '1.0 MB'],
    [21_564_512, '21.6 MB'],
    [37e9, '37.0 GB'],
  ])('writes %d bytes as %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text)
  })

  it.each([
    [0.4, '0:00'],
    [59.6, '1:00'],
    [725, '12:05'],
    [11_229, '3:07:09'],
    [Number.POSITIVE_INFINITY, '-:--'],
  ])('writes %d seconds as %s', (seconds, text) => {
    expect(formatSeconds(seconds)).toBe(text)
  })

  it.each([
    [0, '0.0000'],
    [0.73853, '0.7385'],
    [0.00001234, '1.234e-5'],
    [12_345_678, '1.235e+7'],
    [Number.NaN, 'NaN'],
  ])('writes the metric %d as %s', (value, text) => {
    expect(formatMetric(value)).toBe(text)
  })
})

describe('shellQuote', () => {
  it('leaves plain words and quotes the others so that a shell reads them back', () => {
    expect(shellQuote('/tmp/a-b_c.tsv')).toBe('/tmp/a-b_c.tsv')
    expect(shellQuote("it's here")).toBe("'it'\\''s here'")
    expect(shellQuote('')).toBe("''")
  })
})
