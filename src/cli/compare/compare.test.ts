/** @file The parts of `peft compare`: which methods, which rates, the Pareto front, the report. */

import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../../test/temporary.ts'
import { peft, reviews, saveTinyBert } from '../testing/peft.ts'
import { comparisonReport, comparisonTable } from './report.ts'
import { type Comparison, type MethodResult, paretoFront } from './result.ts'
import { scatterPlot } from './scatter.ts'
import { methodSettings } from './settings.ts'

const result = (method: string, score: number, trainableParameters: number): MethodResult => ({
  method,
  score,
  trainableParameters,
  learningRate: 1e-3,
  set: [],
  loss: 1,
  allParameters: 1_000_000,
  seconds: 12.3,
  peakMemoryBytes: 4e8,
  fileBytes: 4200,
  forgotten: undefined,
  steps: 10,
})

const results = [
  result('small & <simple>', 0.8, 1000),
  result('good', 0.9, 2000),
  result('wasteful', 0.85, 5000),
  result('best', 0.95, 900_000),
]

const comparison: Comparison = {
  model: './model',
  data: 'data.tsv',
  task: 'seq_cls',
  measure: 'accuracy',
  chance: 0.5,
  trainExamples: 10,
  evalExamples: 5,
  settings: { epochs: 1 },
  date: '2026-01-01',
  machine: 'a machine',
  results,
  failed: [{ method: 'broken', learningRate: 1, set: [], error: 'it broke' }],
}

describe('the Pareto front', () => {
  it('holds what no smaller method beats, by size', () => {
    expect(paretoFront(results)).toEqual(['small & <simple>', 'good', 'best'])
    expect(paretoFront([result('a', 0.5, 10), result('b', 0.5, 20)])).toEqual(['a'])
  })
})

describe('the report', () => {
  it('needs nothing from elsewhere and shows every method, escaped', () => {
    const html = comparisonReport(comparison)
    expect(html).not.toMatch(/(src|href)=|https?:|@import|url\(/)
    expect(html).toContain('small &amp; &lt;simple&gt;')
    expect(html).not.toContain('<simple>')
    for (const { method } of results.slice(1)) expect(html).toContain(`<td>${method}</td>`)
    expect(html).toContain('it broke')
  })

  it('draws a point for each method and joins the front', () => {
    const svg = scatterPlot(results, 'accuracy', 0.5)
    expect(svg.match(/<circle/g)).toHaveLength(4)
    expect(/<polyline class="front" points="([^"]+)"/.exec(svg)![1].split(' ')).toHaveLength(3)
    const [, numbers] = [svg, [...svg.matchAll(/c[xy]="([^"]+)"/g)].map(([, value]) => Number(value))]
    expect(numbers.every(Number.isFinite)).toBe(true)
    expect(scatterPlot([], 'accuracy', 0.5)).toBe('')
  })

  it('is a table in the terminal too, best first', () => {
    const lines = comparisonTable(comparison)
    expect(lines[1]).toContain('best')
    expect(lines[1].startsWith('*')).toBe(true)
    expect(lines.find(line => line.includes('wasteful'))?.startsWith(' ')).toBe(true)
  })
})

describe('the settings of a comparison', () => {
  const choose = (choice: Partial<Parameters<typeof methodSettings>[0]>) =>
    methodSettings({ rate: [], set: [], search: 0, ...choice }, true)

  it('take what a method recommends, and what the user says instead', () => {
    const [lora, houlsby] = choose({ methods: ['lora', 'houlsby'], rate: ['lora=0.01'], set: ['lora.r=2'] })
    expect(lora.learningRate).toBe(0.01)
    expect(lora.set).toContain('r=2')
    expect(lora.set.filter(pair => pair.startsWith('r='))).toEqual(['r=2'])
    expect(houlsby.learningRate).toBeGreaterThan(0)
  })

  it('look for a rate only where the user gave none', () => {
    const [lora, ia3] = choose({ methods: ['lora', 'ia3'], rate: ['lora=0.01'], search: 7 })
    expect([lora.searchSteps, ia3.searchSteps]).toEqual([undefined, 7])
  })

  it('refuse methods, rates and options that do not exist', () => {
    expect(() => choose({ methods: ['lorra'] })).toThrow(/lorra.*lora/)
    expect(() => choose({ methods: ['lora'], rate: ['ia3=1'] })).toThrow(/"ia3" is not among/)
    expect(() => choose({ methods: ['lora'], rate: ['lora=fast'] })).toThrow(/a rate is a number/)
    expect(() => choose({ methods: ['lora'], set: ['lora.rank=3'] })).toThrow(/no such option/)
  })
})

describe('peft compare', () => {
  it('trains methods in processes of their own and writes a report', { timeout: 120_000 }, async () => {
    const folder = await temporaryFolder()
    const model = await saveTinyBert(folder)
    const data = join(folder, 'reviews.tsv')
    await writeFile(data, reviews(24))
    const output = join(folder, 'compared')
    const { code, stderr, stdout } = await peft([
      ...['compare', '--model', model, '--data', data, '--eval-split', '8', '--task', 'seq_cls', '--output', output],
      ...['--methods', 'lora,bitfit', '--max-steps', '2', '--search', '1', '--batch-size', '8', '--threads', '1'],
    ])
    expect(code, stderr).toBe(0)
    expect(stdout).toMatch(/lora.*\d/)
    const written = JSON.parse(await readFile(join(output, 'compare.json'), 'utf8')) as Comparison
    expect(written.results.map(({ method }) => method)).toEqual(['lora', 'bitfit'])
    for (const { peakMemoryBytes, fileBytes, score } of written.results) {
      expect(peakMemoryBytes).toBeGreaterThan(1e7)
      expect(fileBytes).toBeGreaterThan(100)
      expect(score).toBeGreaterThanOrEqual(0)
    }
    expect(await readFile(join(output, 'report.html'), 'utf8')).toContain('<svg')
  })

  it('says what is missing', async () => {
    const { code, stderr } = await peft(['compare', '--model', 'x', '--output', 'y'])
    expect(code).toBe(2)
    expect(stderr).toContain('--model and --data go together')
  })
})
