/** @file The report of a comparison: one HTML file that needs no network, and the table of the terminal. */
import { formatBytes, formatSeconds } from '../format.ts'
import { type Comparison, type Forgetting, type MethodResult, paretoFront } from './result.ts'
import { escapeHtml, scatterPlot } from './scatter.ts'

const STYLE = `
:root { color-scheme: light dark; --ink: #1c2430; --dim: #5d6878; --line: #d9dee6; --paper: #fff; --best: #0a6e4f; --point: #4a6fa5; --row: #f5f7fa }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9f0; --dim: #9aa5b5; --line: #343d4b; --paper: #151a21; --best: #4fd1a1; --point: #8fb3e8; --row: #1c232d } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
p, dd { color: var(--dim) } dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem } dt { font-weight: 600 } dd { margin: 0; overflow-wrap: anywhere }
.scroll { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap } th:first-child, td:first-child { text-align: left }
tbody tr:nth-child(odd) { background: var(--row) } td.settings { text-align: left; white-space: normal; min-width: 14rem; color: var(--dim) }
tr.best td:first-child { color: var(--best); font-weight: 600 }
svg { width: 100%; height: auto } svg text { font: 12px system-ui, sans-serif; fill: var(--ink) } svg .tick, svg .label { fill: var(--dim) }
svg .grid { stroke: var(--line) } svg .chance { stroke: var(--dim); stroke-dasharray: 4 4 } svg .front { fill: none; stroke: var(--best); stroke-width: 1.5; opacity: .6 }
svg .point circle { fill: var(--point) } svg .point.best circle { fill: var(--best) } svg .point.best text { fill: var(--best); font-weight: 600 }
`

const percent = (share: number) => `${(100 * share).toFixed(1)} %`
const parameterShare = (result: MethodResult) =>
  `${((100 * result.trainableParameters) / result.allParameters).toFixed(3)} %`

function forgotten(forgetting: Forgetting | undefined): string {
  if (!forgetting) return '–'
  return forgetting.measure === 'exact' ? percent(forgetting.lost) : forgetting.lost.toFixed(3)
}

/** What the column `forgotten` counts. */
function forgottenMeaning(results: readonly MethodResult[]): string {
  const forgetting = results.find(result => result.forgotten)?.forgotten
  if (!forgetting) return 'was not measured: give --retain, or a checkpoint with a head for masked tokens'
  return forgetting.measure === 'exact'
    ? `is the share of old questions that the base answers (${percent(forgetting.before)}) and that are no longer answered with the adapter on; switched off, every adapter gives the base`
    : `is what the adapter adds to the ${forgetting.measure} a token on text it was not trained for (base: ${forgetting.before.toFixed(3)}); switched off, every adapter gives the base`
}

const HEADER = ['method', 'score', 'exact', 'trained', 'share', 'seconds', 'memory', 'file', 'forgotten']

const cells = (result: MethodResult) => [
  result.method,
  result.score.toFixed(4),
  result.exact === undefined ? '–' : percent(result.exact),
  result.trainableParameters.toLocaleString('en-US'),
  parameterShare(result),
  result.seconds.toFixed(1),
  formatBytes(result.peakMemoryBytes),
  formatBytes(result.fileBytes),
  forgotten(result.forgotten),
]

const byScore = ({ results }: Comparison) => [...results].sort((a, b) => b.score - a.score)

const settingsOf = ({ learningRate, set }: Pick<MethodResult, 'learningRate' | 'set'>) =>
  [`learning rate ${learningRate}`, ...set].join(', ')

/** The table as lines of text, best first; methods on the Pareto front carry a star. */
export function comparisonTable(comparison: Comparison): string[] {
  const front = paretoFront(comparison.results)
  const rows = byScore(comparison).map(result => {
    const [name, ...others] = cells(result)
    return [`${front.includes(name) ? '*' : ' '} ${name}`, ...others, settingsOf(result)]
  })
  const table = [[`  ${HEADER[0]}`, ...HEADER.slice(1), 'settings'], ...rows]
  const widths = table[0].map((_, column) => Math.max(...table.map(row => row[column].length)))
  return table.map(row =>
    row
      .map((cell, i) => (i === 0 || i === row.length - 1 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
      .join('  ')
      .trimEnd(),
  )
}

/** The report. Everything it shows is in this one text: no script, no font and no picture from elsewhere. */
export function comparisonReport(comparison: Comparison): string {
  const { model, data, task, measure, chance, trainExamples, evalExamples, date, machine, failed } = comparison
  const results = byScore(comparison)
  const front = paretoFront(results)
  const facts: [string, string][] = [
    ['base model', model],
    ['data', `${data} (${trainExamples} to train on, ${evalExamples} to be tested on)`],
    ['task', task],
    [
      'score',
      `${measure}; ${measure === 'accuracy' ? 'the largest class alone' : 'the base before training'} gives ${chance.toFixed(4)}`,
    ],
    [
      'all methods',
      Object.entries(comparison.settings)
        .map(([name, value]) => `${name} ${value}`)
        .join(', '),
    ],
    [
      'run',
      `${date} on ${machine}, ${formatSeconds(results.reduce((sum, { seconds }) => sum + seconds, 0))} of training`,
    ],
  ]
  const row = (result: MethodResult) =>
    `<tr${front.includes(result.method) ? ' class="best"' : ''}>${cells(result)
      .map(cell => `<td>${escapeHtml(cell)}</td>`)
      .join('')}<td class="settings">${escapeHtml(settingsOf(result))}</td></tr>`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Methods compared: ${escapeHtml(model)}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${results.length} methods on one task</h1>
<dl>${facts.map(([name, value]) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd>`).join('')}</dl>
<h2>Score against size</h2>
${scatterPlot(results, measure, chance)}
<p>Green: no other method is better with fewer trained parameters (the Pareto front).</p>
<h2>All figures</h2>
<div class="scroll"><table>
<thead><tr>${[...HEADER, 'settings'].map(name => `<th>${name}</th>`).join('')}</tr></thead>
<tbody>
${results.map(row).join('\n')}
</tbody>
</table></div>
<p>Exact is the share of prompts that are answered letter by letter. Memory is the peak of the process that trained, the base model included. Forgotten ${escapeHtml(forgottenMeaning(results))}.</p>
${failed.length ? `<h2>Not compared</h2>\n<dl>${failed.map(({ method, error }) => `<dt>${escapeHtml(method)}</dt><dd>${escapeHtml(error)}</dd>`).join('')}</dl>` : ''}
</body>
</html>
`
}
