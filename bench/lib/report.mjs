/** @file The results as Markdown: tables, ratios, and which targets were reached. */
import { compare, median } from './statistics.mjs'

/**
 * @typedef {import('./results.ts').Results} Results
 * @typedef {import('./results.ts').StepRow} StepRow
 * @typedef {import('./results.ts').StepRun} StepRun
 * @typedef {import('./results.ts').MixedRow} MixedRow
 * @typedef {import('./results.ts').GenerationRow} GenerationRow
 * @typedef {import('./results.ts').TaskRow} TaskRow
 * @typedef {import('./results.ts').EpochRow} EpochRow
 * @typedef {import('./results.ts').QuantizedRow} QuantizedRow
 * @typedef {import('./results.ts').QuantizedLossRow} QuantizedLossRow
 * @typedef {import('./results.ts').TaskRun} TaskRun
 * @typedef {keyof typeof TARGETS} Mode
 * @typedef {{ ratio: number, lowest: number, highest: number }} Comparison
 */

const PEER = 'PyTorch + PEFT'
const TRAINER = 'Transformers’ Trainer + PEFT'
/** What is aimed at, against the peer: at least `speed` times as fast, at most `memory` of its peak. */
const TARGETS = {
  fast: { speed: 1.45, memory: Number.POSITIVE_INFINITY },
  small: { speed: 1, memory: 0.45 },
  recomputed: { speed: 0, memory: 0.35 },
  int8: { speed: 2, memory: Number.POSITIVE_INFINITY },
  smallHalf: { speed: 1, memory: 0.45 },
  recomputedHalf: { speed: 0, memory: 0.35 },
}
/** @type {Partial<Record<Mode, string>>} */
const WAYS = { smallHalf: 'small, bfloat16', recomputedHalf: 'recomputed, bfloat16' }
const MODES = /** @type {Mode[]} */ (Object.keys(TARGETS))

/** How many times as fast an epoch of real lengths is aimed to be. */
const EPOCH_SPEED = 3

/** A Markdown table, its columns aligned. @param {string[]} header @param {string[][]} rows */
export function table(header, rows) {
  const widths = header.map((_, i) => Math.max(3, ...[header, ...rows].map(row => row[i].length)))
  const line = (/** @type {string[]} */ cells) => `| ${cells.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`
  return [line(header), `|${widths.map(width => '-'.repeat(width + 2)).join('|')}|`, ...rows.map(line)].join('\n')
}

/** How a mode compares with the peer; undefined where either did not run. @param {StepRow} row @param {Mode} mode */
export function against(row, mode) {
  if (row.peer.length === 0 || row[mode].length === 0) return undefined
  const of = (/** @type {StepRun[]} */ runs, /** @type {'seconds' | 'peak_rss_mb'} */ key) => runs.map(run => run[key])
  return {
    speed: compare(of(row.peer, 'seconds'), of(row[mode], 'seconds')),
    memory: compare(of(row[mode], 'peak_rss_mb'), of(row.peer, 'peak_rss_mb')),
  }
}

/** One line for each target of each shape: reached or not, with the numbers. @param {readonly StepRow[]} rows */
export function verdicts(rows) {
  return rows.flatMap(row =>
    MODES.flatMap(mode => {
      const found = against(row, mode)
      if (!found) return []
      const target = TARGETS[mode]
      const reached = found.speed.ratio >= target.speed && found.memory.ratio <= target.memory
      const wanted = [
        ...(target.speed > 1 ? [`at least ${target.speed} times as fast`] : []),
        ...(target.speed === 1 ? ['at least as fast'] : []),
        ...(Number.isFinite(target.memory) ? [`at most ${target.memory} of the memory`] : []),
      ]
      const got = `${found.speed.ratio.toFixed(2)} times as fast, ${found.memory.ratio.toFixed(2)} of the memory`
      return [
        `${row.shape}, ${WAYS[mode] ?? mode} (${wanted.join(', ')}): ${reached ? 'reached' : '**not reached**'}: ${got}.`,
      ]
    }),
  )
}

/** @param {readonly StepRow[]} rows */
export function stepTable(rows) {
  const header = [
    'shape',
    'who',
    's/step',
    'fastest',
    'peak MB',
    'times as fast',
    'of the memory',
    'first step s',
    'first loss',
  ]
  const lines = rows.flatMap(row =>
    /** @type {const} */ (['peer', ...MODES])
      .filter(who => row[who].length > 0)
      .map(who => {
        const runs = row[who]
        const found = who === 'peer' ? undefined : against(row, who)
        const firsts = runs.flatMap(run => run.first_step_seconds ?? [])
        return [
          `${row.shape} ${row.batch} x ${row.seq}`,
          who === 'peer' ? PEER : `peft-ts, ${WAYS[who] ?? who}`,
          median(runs.map(run => run.seconds)).toFixed(2),
          Math.min(...runs.map(run => run.min)).toFixed(2),
          count(median(runs.map(run => run.peak_rss_mb))),
          ratio(found?.speed),
          ratio(found?.memory),
          firsts.length === 0 ? '' : median(firsts).toFixed(1),
          median(runs.map(run => run.first_loss)).toFixed(3),
        ]
      }),
  )
  return table(header, lines)
}

/** @param {readonly MixedRow[]} rows */
export function mixedTable(rows) {
  const seconds = (/** @type {number | undefined} */ value) => value?.toFixed(3) ?? ''
  const milliseconds = (/** @type {number | undefined} */ value) =>
    value === undefined ? '' : (value * 1000).toFixed(value < 0.1 ? 2 : 0)
  return table(
    [
      'batch',
      'who',
      '1 active',
      '1 by rows',
      '8',
      '32',
      '32 / 1',
      'first load ms',
      'last load ms',
      'switch ms',
      'new switch ms',
    ],
    rows.map(({ who, batch, seq, seconds: times, ...row }) => [
      `${batch} x ${seq}`,
      who === 'peer' ? PEER : 'peft-ts',
      seconds(times.single),
      ...['1', '8', '32'].map(count => seconds(times[count])),
      (times[32] / (times.single ?? times[1])).toFixed(2),
      milliseconds(row.first_load),
      milliseconds(row.last_load),
      milliseconds(row.switch),
      milliseconds(row.first_switch),
    ]),
  )
}

/** @param {readonly GenerationRow[]} rows */
export function generationTable(rows) {
  const header = ['shape', 'rows', 'who', 'tokens/s', 'first token s', 'peak MB', 'times as fast', 'of the memory']
  const lines = rows.map(row => {
    const peer = rows.find(({ who, shape, batch }) => who === 'peer' && shape === row.shape && batch === row.batch)
    const against = (/** @type {(row: GenerationRow, peer: GenerationRow) => number} */ divide) =>
      peer && row !== peer ? divide(row, peer).toFixed(2) : ''
    return [
      row.shape,
      String(row.batch),
      row.who === 'peer' ? PEER : row.who.replace('ours', 'peft-ts,'),
      row.tokens_per_second.toFixed(1),
      row.first_token_seconds.toFixed(2),
      count(row.peak_rss_mb),
      against((a, b) => a.tokens_per_second / b.tokens_per_second),
      against((a, b) => a.peak_rss_mb / b.peak_rss_mb),
    ]
  })
  return table(header, lines)
}

/** @param {readonly TaskRow[]} rows */
export function taskTable(rows) {
  const isClassifier = rows.some(({ ours }) => ours.accuracy !== undefined)
  const header = ['method', 'who', ...(isClassifier ? ['accuracy'] : ['test loss', 'perplexity'])]
  const lines = rows.flatMap(({ ours, peer }) =>
    [ours, ...(peer ? [peer] : [])].map(run => [
      METHODS[run.method] ?? run.method,
      run === ours ? 'peft-ts' : PEER,
      ...(isClassifier ? [fixed(run.accuracy, 3)] : [fixed(run.loss, 3), fixed(run.perplexity, 1)]),
      count(run.trainable),
      run.all === undefined ? '' : `${((100 * run.trainable) / run.all).toFixed(2)} %`,
      fixed(run.seconds, 0),
      count(run.peak_rss_mb),
      fixed(run.file_mb, 2),
    ]),
  )
  return table([...header, 'trainable', 'share', 'seconds', 'peak MB', 'file MB'], lines)
}

/** @param {readonly QuantizedRow[]} rows */
export function quantizedTable(rows) {
  const header = ['shape', 'base', 's/step', 'peak MB', 'foretold MB', 'foretold / peak', 'first loss']
  const lines = rows.map(row => [
    `${row.shape} ${row.batch} x ${row.seq}`,
    row.quantize,
    row.seconds.toFixed(2),
    count(row.peak_rss_mb),
    count(row.forecast_mb),
    (row.forecast_mb / row.peak_rss_mb).toFixed(2),
    row.first_loss.toFixed(3),
  ])
  return table(header, lines)
}

/** Each kind of base against the first, by the means over seeds. @param {readonly QuantizedLossRow[]} rows */
export function quantizedLossTable(rows) {
  const mean = (/** @type {QuantizedLossRow} */ { losses }) => losses.reduce((a, b) => a + b, 0) / losses.length
  const header = ['base', 'loss before', 'loss', 'of its seeds', 'against the first']
  const lines = rows.map(row => [
    row.quantize,
    row.first_loss.toFixed(4),
    mean(row).toFixed(4),
    row.losses.map(loss => loss.toFixed(4)).join(', '),
    row === rows[0] ? '' : `${(100 * (mean(row) / mean(rows[0]) - 1)).toFixed(2)} %`,
  ])
  return table(header, lines)
}

/** @param {readonly EpochRow[]} rows */
export function epochTable(rows) {
  const header = ['seed', 'who', 'seconds', 'accuracy', 'peak MB', 'times as fast']
  const lines = rows.flatMap(({ seed, ours, peer }) =>
    [ours, ...(peer ? [peer] : [])].map(run => [
      String(seed),
      run === ours ? 'peft-ts' : TRAINER,
      fixed(run.seconds, 0),
      fixed(run.accuracy, 3),
      count(run.peak_rss_mb),
      run === ours && peer?.seconds && ours.seconds ? fixed(peer.seconds / ours.seconds, 2) : '',
    ]),
  )
  return table(header, lines)
}

/** Whether an epoch reached its targets; nothing where the peer did not run. @param {readonly EpochRow[]} rows */
export function epochVerdict(rows) {
  const both = rows.flatMap(({ ours, peer }) => (peer ? [{ ours, peer }] : []))
  if (both.length === 0) return []
  const of = (/** @type {'ours' | 'peer'} */ who, /** @type {'seconds' | 'accuracy'} */ key) =>
    both.map(row => /** @type {number} */ (row[who][key]))
  const speed = compare(of('peer', 'seconds'), of('ours', 'seconds'))
  const [own, others] = [of('ours', 'accuracy'), of('peer', 'accuracy')]
  const apart = Math.abs(mean(own) - mean(others))
  const spread = Math.max(...others) - Math.min(...others)
  const say = (/** @type {boolean} */ isReached) => (isReached ? 'reached' : '**not reached**')
  return [
    `At least ${EPOCH_SPEED} times as fast: ${say(speed.ratio >= EPOCH_SPEED)}: ${ratio(speed)} times as fast.`,
    `The mean accuracy within the peer’s spread between seeds: ${say(apart <= spread)}: ${mean(own).toFixed(3)} against ${mean(others).toFixed(3)}, ${apart.toFixed(3)} apart; the peer’s seeds lie within ${spread.toFixed(3)}.`,
  ]
}

/** The line that says what a section was measured on. @param {import('./results.ts').Section<unknown>} section */
export function machineLine({ date, machine, peerMissing, settings }) {
  const { cpu, features, cores, memoryGiB, system, loadBefore, versions } = machine
  return [
    `${date}, ${cpu} (${features.join(', ') || 'features unknown'}), ${cores} cores, ${memoryGiB} GiB, ${system}, load ${loadBefore}`,
    list(versions),
    list(settings),
    ...(peerMissing ? [`${PEER} was not run: ${peerMissing}`] : []),
  ].join('; ')
}

/** @type {Record<string, string>} */
const METHODS = { base: 'none (as it is)', lora: 'LoRA r 8', full: 'full', head: 'frozen base, head trained' }

/** docs/benchmarks.md. Throws when nothing was measured. @param {Results} results */
export function renderDocument(results) {
  const { step, generate, mixed, quantized, quantizedLoss, epoch, sst2, wikisql } = results
  if (Object.values(results).every(section => section === undefined))
    throw new Error('Nothing was measured yet: run `npm run bench` first')
  const lines = step ? verdicts(step.rows) : []
  return `${[
    '# Benchmarks',
    'Made by `npm run bench`, then `npm run bench -- --write`. The peer is PyTorch with Transformers and PEFT, run by the same command on the same machine.',
    '**How to read this.** Only ratios within one table mean something: seconds depend on the machine and on what else it does (the load is that of the minute before the measurement). Every figure comes from a process of its own. Peak MB is the high-water mark of resident memory in MB of 2^20 bytes, with Node or Python itself and with weights that are mapped from their file and not copied. Repeats of the same step scatter by about 4 % on a quiet machine, so smaller differences are noise.',
    ...(step
      ? [
          '## A training step',
          "LoRA, r 8 and alpha 16, on the query and value projections; random weights, the same for both sides; the shape’s own dropout on; AdamW and clipping included. Seconds are medians over processes of the medians of their steps, the first two steps left out; in brackets the range of the ratios of runs that followed each other. “recomputed” is the small mode with layers computed again in the backward pass (`gradientCheckpointing`), “int8” a base in `int8-channel` with products in 8-bit arithmetic in both passes (`quantizedProducts: 'int8-gradients'`), “bfloat16” a base held in the 16 bits that the model is published in, computed in float32 (`quantize: 'bfloat16'`). The first loss of the two sides is of different tokens and different dropout: it only shows that both compute the same kind of thing.",
          stepTable(step.rows),
          lines.length ? `Against the targets:\n\n${lines.map(line => `- ${line}`).join('\n')}` : '',
          machineLine(step),
        ]
      : []),
    ...(generate
      ? [
          '## Generation',
          '128 new tokens after 128, greedily, with a LoRA adapter (r 8 on the query and value projections) that is active and not merged. Tokens a second of all rows together, the reading of the prompt included; median of three. “small” leaves the weights in their file as they are, “packed” has them repacked and mapped from the cache on disk, int8 are 8-bit weights.',
          generationTable(generate.rows),
          machineLine(generate),
        ]
      : []),
    ...(mixed
      ? [
          '## Many adapters',
          'BERT-base’s shape, LoRA r 8 on the query and value projections. Seconds a batch (median of three runs) with one adapter for all rows, chosen by `setAdapter` or row by row, and with 8 and 32 adapters in one batch; the ratio is that of 32 to one. The last loads are those of the last five adapters. A switch is `setAdapter` with all that is needed before the next run, to an adapter that was active before, and to one that was not; of the peer it is `set_adapter` alone.',
          mixedTable(mixed.rows),
          machineLine(mixed),
        ]
      : []),
    ...(quantized
      ? [
          '## Quantised bases',
          'A LoRA step (r 8 on the query and value projections) on a base in 8 or 4 bits, layers computed twice (`gradientCheckpointing`); the second step is timed. “Foretold” is what `peft info` says beforehand. The peak is that of a process that loads, quantises where the cache has it not yet, and trains.',
          quantizedTable(quantized.rows),
          machineLine(quantized),
        ]
      : []),
    ...(quantizedLoss
      ? [
          '## The loss on quantised bases',
          'LoRA (r 8 on the query and value projections) on mini-llama and WikiSQL: the test loss after the same steps, on the base as it is and in fewer bits; the same seed is the same adapter, the same rows in the same order. The last column compares the means over seeds.',
          quantizedLossTable(quantizedLoss.rows),
          machineLine(quantizedLoss),
        ]
      : []),
    ...(epoch
      ? [
          '## An epoch with real lengths',
          'One pass over SST-2 on mini-bert: LoRA r 8 on the query and value projections, the same base, batch size and rate, each side with its own defaults. Ours puts sentences of similar length into a batch, the peer’s Trainer draws batches of any lengths; both pad to the longest of a batch. Seconds are those of training, compilation included; the two sides ran in turn.',
          epochTable(epoch.rows),
          epochVerdict(epoch.rows)
            .map(line => `- ${line}`)
            .join('\n'),
          machineLine(epoch),
        ]
      : []),
    ...(sst2
      ? [
          '## SST-2 on mini-bert',
          'Sentiment of sentences, accuracy on the 872 test sentences. Linear schedule without warm-up, at most 128 tokens. Seconds are those of training. One seed: the accuracy of 872 sentences is uncertain by 1.4 points (standard error), so differences below 3 points say nothing. File MB is the weights file that `savePretrained` writes.',
          taskTable(sst2.rows),
          machineLine(sst2),
        ]
      : []),
    ...(wikisql
      ? [
          '## WikiSQL on mini-llama',
          'From a question to SQL, as plain text; loss for each token on the 100 test rows. LoRA on all linear layers. The peer has no script for this.',
          taskTable(wikisql.rows),
          machineLine(wikisql),
        ]
      : []),
  ]
    .filter(part => part !== '')
    .join('\n\n')}\n`
}

/** @param {Comparison | undefined} comparison */
function ratio(comparison) {
  if (!comparison) return ''
  const { ratio: value, lowest, highest } = comparison
  const range = lowest === highest ? '' : ` (${lowest.toFixed(2)} to ${highest.toFixed(2)})`
  return `${value.toFixed(2)}${range}`
}

/** @param {readonly number[]} values */
const mean = values => values.reduce((a, b) => a + b, 0) / values.length

/** @param {number} n */
const count = n => Math.round(n).toLocaleString('en-US')

/** @param {number | undefined} value @param {number} digits */
const fixed = (value, digits) => value?.toFixed(digits) ?? ''

/** @param {Record<string, string | number>} entries */
const list = entries =>
  Object.entries(entries)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ')
