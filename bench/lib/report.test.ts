/** @file Tests of the benchmark's report. */
import { describe, expect, it } from 'vitest'
import {
  against,
  epochTable,
  epochVerdict,
  mixedTable,
  quantizedLossTable,
  quantizedTable,
  renderDocument,
  stepTable,
  table,
  taskTable,
  verdicts,
} from './report.mjs'
import type { EpochRow, MixedRow, StepRow, StepRun } from './results.ts'
import { compare, median } from './statistics.mjs'

const run = (seconds: number, peak_rss_mb: number): StepRun => ({
  seconds,
  min: seconds,
  peak_rss_mb,
  first_loss: 0.7,
})
const row: StepRow = {
  shape: 'bert-base',
  batch: 8,
  seq: 128,
  peer: [run(3, 2000), run(2.8, 2000), run(4, 2000)],
  fast: [run(2, 1600), run(2, 1500), run(2.5, 1500)],
  small: [run(2.9, 1100), run(2.9, 1100), run(2.9, 1100)],
  recomputed: [run(4, 600), run(4, 620), run(4, 640)],
  int8: [run(1.5, 900), run(1.6, 900), run(1.4, 900)],
  smallHalf: [],
  recomputedHalf: [],
}

describe('statistics', () => {
  it('takes the middle value, or the mean of the middle two', () => {
    expect(median([3, 1, 2])).toBe(2)
    expect(median([4, 1, 2, 3])).toBe(2.5)
    expect(() => median([])).toThrow(/no values/)
  })

  it('compares medians, and pairs of runs for the range', () => {
    expect(compare([3, 2.8, 4], [2, 2, 2.5])).toEqual({ ratio: 1.5, lowest: 1.4, highest: 1.6 })
  })
})

describe('the report', () => {
  it('aligns the columns of a table', () => {
    expect(table(['a', 'long'], [['1234', '5']])).toBe('| a    | long |\n|------|------|\n| 1234 | 5    |')
  })

  it('divides the peer by ours for time and ours by the peer for memory', () => {
    expect(against(row, 'fast')?.speed.ratio).toBe(1.5)
    expect(against(row, 'fast')?.memory.ratio).toBe(0.75)
    expect(against({ ...row, peer: [] }, 'fast')).toBeUndefined()
  })

  it('says which targets were reached, and none where the peer did not run', () => {
    const [fast, small, recomputed, int8] = verdicts([row])
    expect(fast).toContain('bert-base, fast (at least 1.45 times as fast): reached: 1.50 times as fast')
    expect(small).toContain('**not reached**: 1.03 times as fast, 0.55 of the memory')
    expect(recomputed).toContain('recomputed (at most 0.35 of the memory): reached: 0.75 times as fast, 0.31 of')
    expect(int8).toContain('(at least 2 times as fast): reached: 2.00')
    expect(verdicts([{ ...row, peer: [] }])).toEqual([])
  })

  it('shows the range of ratios where runs were repeated, and no ratio for the peer', () => {
    const [, , peer, fast] = stepTable([row]).split('\n')
    expect(fast).toContain('1.50 (1.40 to 1.60)')
    expect(peer).not.toContain('(')
  })

  it('compares epochs by the median of their seeds, and accuracies by the spread of the peer’s', () => {
    const epoch = (seed: number, seconds: [number, number], accuracy: [number, number]): EpochRow => {
      const [ours, peer] = [0, 1].map(i => ({
        ...{ method: 'lora', peak_rss_mb: 400, trainable: 33282 },
        ...{ seconds: seconds[i], accuracy: accuracy[i] },
      }))
      return { seed, ours, peer }
    }
    const rows = [epoch(0, [10, 40], [0.75, 0.74]), epoch(1, [10, 25], [0.76, 0.77]), epoch(2, [12, 42], [0.75, 0.75])]
    expect(epochVerdict(rows)).toEqual([
      expect.stringContaining(': reached: 4.00 (2.50 to 4.00) times as fast'),
      expect.stringContaining(': reached: 0.753 against 0.753, 0.000 apart; the peer’s seeds lie within 0.030'),
    ])
    const bad = rows.map(row => ({ ...row, ours: { ...row.ours, seconds: 20, accuracy: 0.7 } }))
    for (const line of epochVerdict(bad)) expect(line).toContain('**not reached**')
    expect(epochVerdict(rows.map(({ seed, ours }) => ({ seed, ours })))).toEqual([])
    expect(epochTable(rows).split('\n')[2]).toMatch(/\| 0 +\| peft-ts +\| 10 +\| 0.750 +\| 400 +\| 4.00/)
  })

  it('compares quantised bases with what was foretold, and with the first by the means over seeds', () => {
    const row = { shape: 'qwen2.5-3b', batch: 1, seq: 512, quantize: 'int4', seconds: 90, first_loss: 12.3 }
    const [, , line] = quantizedTable([{ ...row, peak_rss_mb: 3000, forecast_mb: 3150 }]).split('\n')
    expect(line).toMatch(/\| int4 +\| 90.00 +\| 3,000 +\| 3,150 +\| 1.05/)
    const [, , first, second] = quantizedLossTable([
      { quantize: 'f32', first_loss: 5, losses: [3, 3.2] },
      { quantize: 'nf4', first_loss: 5.1, losses: [3.1, 3.224] },
    ]).split('\n')
    expect(first).toMatch(/\| f32 +\| 5.0000 +\| 3.1000 +\| 3.0000, 3.2000 +\| +\|/)
    expect(second).toContain('| 2.00 % ')
  })

  it('leaves cells empty that a run has no figure for', () => {
    const ours = { method: 'base', peak_rss_mb: 220, trainable: 0, all: 4e6, loss: 5.3111, perplexity: 202.58 }
    const [, , line] = taskTable([{ ours }]).split('\n')
    expect(line.split('|').map(cell => cell.trim())).toEqual([
      '',
      'none (as it is)',
      'peft-ts',
      '5.311',
      '202.6',
      '0',
      '0.00 %',
      '',
      '220',
      '',
      '',
    ])
  })

  it('divides a batch of many adapters by that of one, and shows loads and switches in milliseconds', () => {
    const seconds = { single: 2, 1: 2.1, 8: 2.2, 32: 2.5 }
    const row: MixedRow = { who: 'ours', batch: 64, seq: 32, seconds, first_load: 0.2, last_load: 0.05, switch: 0.0005 }
    const peer: MixedRow = { ...row, who: 'peer', seconds: { 1: 4, 8: 5, 32: 8 } }
    const cells = mixedTable([row, peer])
      .split('\n')
      .slice(2)
      .map(line => line.split('|').map(cell => cell.trim()))
    expect(cells[0].slice(2, 12)).toEqual([
      'peft-ts',
      '2.000',
      '2.100',
      '2.200',
      '2.500',
      '1.25',
      '200',
      '50.00',
      '0.50',
      '',
    ])
    expect(cells[1].slice(2, 8)).toEqual(['PyTorch + PEFT', '', '4.000', '5.000', '8.000', '2.00'])
  })

  it('refuses to write a document about nothing', () => {
    expect(() => renderDocument({})).toThrow(/npm run bench/)
  })
})
