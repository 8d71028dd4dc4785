/** @file The page: what is known of the runs, and drawing it. */
import { Chart } from './chart.js'
import { argumentsOf, beginning, chartsOf, latest, linesOf, measured, secondsLeft, smoothed, tableOf } from './data.js'
import { byId, element, inputById, setText } from './dom.js'
import { formatCount, formatDuration, formatMetric, formatTime, measureOf } from './format.js'
import { SamplesPanel } from './samples.js'
import { ask, Stream } from './stream.js'

/**
 * @import { ControlState } from '../control.ts'
 * @import { RunEvent } from '../events.ts'
 * @import { RunStatus, RunSummary } from '../runs.ts'
 * @import { Drawn } from './chart.js'
 * @import { Connection } from './stream.js'
 */

const COLORS = 8

/** The most rows of a table that are shown before more are asked for. */
const ROWS = 200

/** How statuses are called, and how they look. */
const STATUSES = /** @type {Record<RunStatus | ControlState['phase'], { text: string, tone: string }>} */ ({
  preparing: { text: 'Preparing', tone: 'live' },
  running: { text: 'Training', tone: 'live' },
  paused: { text: 'Paused', tone: 'warn' },
  stopping: { text: 'Finishing', tone: 'warn' },
  suspending: { text: 'Saving a checkpoint', tone: 'warn' },
  suspended: { text: 'Can be resumed', tone: 'warn' },
  ended: { text: 'Finished', tone: 'good' },
  finished: { text: 'Finished', tone: 'good' },
  stopped: { text: 'Finished early', tone: 'good' },
  interrupted: { text: 'Interrupted', tone: 'warn' },
  failed: { text: 'Failed', tone: 'bad' },
  lost: { text: 'Ended without a result', tone: 'warn' },
})

const given = document.querySelector('meta[name="peft-run"]')?.getAttribute('content') ?? ''

const state = {
  main: given,
  /** @type {RunSummary[]} */
  runs: [],
  /** @type {Map<string, RunEvent[]>} */
  events: new Map(),
  /** @type {Map<string, number>} the colour of each run that is drawn */
  colors: new Map(),
  /** @type {ControlState | null} */
  control: null,
  /** @type {Connection} */
  connection: 'connecting',
  hasList: false,
  /** @type {[number, number] | undefined} */
  zoom: undefined,
  /** @type {Set<string>} runs whose table is shown whole */
  whole: new Set(),
}

/** @type {Map<string, Chart>} */
const charts = new Map()
const samples = new SamplesPanel()

const stream = new Stream({
  runs({ runs }) {
    state.runs = runs
    state.hasList = true
    if (!state.main && runs.length > 0) choose(runs[0].id)
    render()
  },
  events({ run, isFresh, events }) {
    state.events.set(run, isFresh ? events : [...(state.events.get(run) ?? []), ...events])
    render()
  },
  state(control) {
    state.control = control
    render()
  },
  connection(connection) {
    state.connection = connection
    render()
  },
})

/** @param {string} run that the head, the samples and the settings are about */
function choose(run) {
  state.main = run
  give(run)
  listen()
}

/**
 * Gives a run the first colour that is free.
 *
 * @param {string} run
 */
function give(run) {
  if (state.colors.has(run)) return
  const taken = new Set(state.colors.values())
  for (let color = 1; color <= COLORS; color++) {
    if (!taken.has(color)) return void state.colors.set(run, color)
  }
}

function listen() {
  stream.listen([...state.colors.keys()])
}

let isWaiting = false

/** Draws soon: what arrives together is drawn together. */
function render() {
  if (isWaiting) return
  isWaiting = true
  // Not by the next frame: a page in the background has none.
  setTimeout(() => {
    isWaiting = false
    draw()
  }, 16)
}

function draw() {
  const events = state.events.get(state.main) ?? []
  const summary = state.runs.find(({ id }) => id === state.main)
  drawHead(events, summary)
  drawControls()
  drawOverview(events, summary)
  drawRuns()
  drawMeasures(events)
  samples.show(state.main, events)
  drawArguments()
  drawEvents(events)
}

/**
 * @param {readonly RunEvent[]} events
 * @param {RunSummary | undefined} summary
 */
function drawHead(events, summary) {
  setText(byId('name'), state.main || 'Runs')
  const { model, method, task } = argumentsOf(events)
  setText(byId('subtitle'), [model, method, task].filter(value => typeof value === 'string').join(' · '))
  const phase = state.control && state.control.phase !== 'ended' ? state.control.phase : summary?.status
  const isOwn = state.main === given
  const shown = phase && STATUSES[isOwn ? phase : (summary?.status ?? phase)]
  const status = byId('status')
  setText(status, shown?.text ?? '')
  status.dataset.tone = shown?.tone ?? ''
  document.title = [shown?.text, state.main || 'Runs', 'peft'].filter(Boolean).join(' – ')

  const banner = byId('banner')
  const failure = events.findLast(({ event }) => event === 'error' || event === 'end')
  const [text, tone] =
    state.connection === 'lost'
      ? ['The connection is lost; trying again. What is shown is what was known last.', 'warn']
      : failure?.event === 'error' && summary?.status !== 'running'
        ? [failure.message, 'bad']
        : state.connection === 'closed'
          ? ['The process that served this page has ended. What is shown stays; peft ui shows it again later.', 'good']
          : ['', '']
  banner.hidden = text === ''
  banner.dataset.tone = tone
  setText(banner, text)
}

/** What can be asked of the training: how it is called, when, and what is asked back. */
const ACTIONS = [
  { action: 'pause', text: 'Pause', when: ['running'] },
  { action: 'continue', text: 'Continue', when: ['paused'] },
  {
    action: 'suspend',
    text: 'Resume later…',
    when: ['running', 'paused'],
    title: 'End now and resume later?',
    question: 'A checkpoint is written after this step and the process ends. The training can be resumed from there.',
    yes: 'Write a checkpoint and end',
  },
  {
    action: 'stop',
    text: 'Finish now…',
    when: ['running', 'paused'],
    title: 'Finish the training now?',
    question: 'The training ends after this step as if it were complete, and what it has learnt until then is saved.',
    yes: 'Finish now',
  },
]

function drawControls() {
  const controls = byId('controls')
  const { control, connection } = state
  const phase = connection === 'open' && state.main === given ? control?.phase : undefined
  const possible = ACTIONS.filter(({ action, when }) => {
    if (!phase || (action === 'suspend' && !control?.can_suspend)) return false
    return phase === 'preparing' ? action !== 'continue' : when.includes(phase)
  })
  controls.hidden = possible.length === 0
  const shape = JSON.stringify([possible.map(({ action }) => action), phase])
  if (controls.dataset.shape === shape) return
  controls.dataset.shape = shape
  controls.replaceChildren(
    ...possible.map(({ action, text, title, question, yes }) =>
      element(
        'button',
        {
          type: 'button',
          'data-action': action,
          disabled: phase === 'preparing',
          onclick: async () => {
            if (title && !(await confirmed(title, question ?? '', yes ?? ''))) return
            const problem = await ask(action)
            if (problem) setText(byId('announce'), problem)
          },
        },
        text,
      ),
    ),
  )
}

/**
 * @param {string} title
 * @param {string} question
 * @param {string} yes
 * @returns {Promise<boolean>}
 */
function confirmed(title, question, yes) {
  const dialog = /** @type {HTMLDialogElement} */ (byId('confirm'))
  setText(byId('confirm-title'), title)
  setText(byId('confirm-text'), question)
  setText(byId('confirm-yes'), yes)
  dialog.returnValue = 'no'
  dialog.showModal()
  return new Promise(resolve => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true })
  })
}

/**
 * @param {readonly RunEvent[]} events
 * @param {RunSummary | undefined} summary
 */
function drawOverview(events, summary) {
  const begin = beginning(events)
  byId('overview').hidden = !begin
  if (!begin) return
  const own = state.main === given ? state.control : null
  const step = Math.max(own?.step ?? 0, events[events.length - 1].step)
  const bar = /** @type {HTMLProgressElement} */ (byId('bar'))
  bar.max = begin.max_steps
  bar.value = step
  const epoch = latest(events, 'epoch')
  const epochText = epoch === undefined ? '' : ` · epoch ${epoch.toFixed(2)}`
  setText(byId('progress-text'), `Step ${formatCount(step)} of ${formatCount(begin.max_steps)}${epochText}`)
  setText(byId('remaining'), remaining(events, step, begin.max_steps, summary?.status))

  const tiles = [
    ['loss', 'Training loss'],
    ['eval_loss', 'Evaluation loss'],
    ...chartsOf(linesOf(events, 'step').keys())
      .flat()
      .filter(name => name.startsWith('eval_') && name !== 'eval_loss')
      .slice(0, 2)
      .map(name => [
        name,
        measureOf(name)
          .title.replace('Evaluation ', '')
          .replace(/^./, letter => letter.toUpperCase()),
      ]),
    ['learning_rate', 'Learning rate'],
    ['grad_norm', 'Gradient norm'],
    ['tokens_per_second', 'Throughput'],
    ['memory_bytes', 'Memory'],
  ].flatMap(([name, title]) => {
    const value = latest(events, name)
    if (value === undefined) return []
    const { format, unit } = measureOf(name)
    const [, number, own] = /^(.*?)(?: (\D+))?$/.exec(format(value)) ?? []
    const small = unit ?? own
    return [
      element(
        'div',
        {},
        element('dt', {}, title),
        element(
          'dd',
          { 'data-measure': name, 'data-value': value },
          number,
          ...(small ? [element('small', {}, ` ${small}`)] : []),
        ),
      ),
    ]
  })
  byId('tiles').replaceChildren(...tiles)
  byId('tiles').hidden = tiles.length === 0
}

/**
 * @param {readonly RunEvent[]} events
 * @param {number} step
 * @param {number} maxSteps
 * @param {RunStatus | undefined} status
 */
function remaining(events, step, maxSteps, status) {
  const end = events.findLast(({ event }) => event === 'end')
  const took = (Date.parse(events[events.length - 1].time) - Date.parse(events[0].time)) / 1000
  if (end?.event === 'end') {
    const best = end.best_step === undefined ? '' : ` · best evaluation at step ${end.best_step}`
    return `took ${formatDuration(took)} · training loss ${formatMetric(end.training_loss)}${best}`
  }
  if (status !== 'running') return `after ${formatDuration(took)}`
  const left = secondsLeft(events, step, maxSteps)
  return left === undefined ? '' : `about ${formatDuration(left)} left`
}

function drawRuns() {
  const list = byId('runs')
  const known = state.runs.some(({ id }) => id === state.main)
  const runs = [...state.runs].sort((a, b) => Number(b.id === state.main) - Number(a.id === state.main))
  byId('runs-panel').hidden = runs.length < 2
  setText(byId('runs-count'), runs.length > 1 ? `${state.colors.size} of ${runs.length} shown` : '')
  const shape = JSON.stringify([runs, [...state.colors], known])
  if (list.dataset.shape === shape) return
  list.dataset.shape = shape
  const focused = document.activeElement?.getAttribute('data-run-id')
  list.replaceChildren(
    ...runs.map(({ id, name, status, time, step, loss }) => {
      const color = state.colors.get(id)
      const facts = [
        STATUSES[status].text.toLowerCase(),
        `step ${formatCount(step)}`,
        ...(loss === undefined ? [] : [`loss ${formatMetric(loss)}`]),
        formatTime(time),
      ]
      return element(
        'li',
        {},
        element(
          'label',
          {},
          element('input', {
            type: 'checkbox',
            'data-run-id': id,
            checked: color !== undefined,
            disabled: id === state.main || (color === undefined && state.colors.size >= COLORS),
            onchange: () => toggle(id),
          }),
          element('span', { class: 'swatch', 'data-run': color, 'aria-hidden': 'true' }),
          element('span', { class: 'run-name' }, name),
          element('span', { class: 'run-facts' }, facts.join(' · ')),
        ),
      )
    }),
  )
  if (!focused) return
  for (const input of list.querySelectorAll('input')) if (input.dataset.runId === focused) input.focus()
}

/** @param {string} run */
function toggle(run) {
  if (state.colors.delete(run)) state.events.delete(run)
  else give(run)
  listen()
  render()
}

/** The runs that are drawn, with what is known of them. */
function shownRuns() {
  return [...state.colors].map(([id, color]) => ({ id, color, events: state.events.get(id) ?? [] }))
}

/** @param {readonly RunEvent[]} events */
function drawMeasures(events) {
  const runs = shownRuns()
  const hasAny = runs.some(run => measured(run.events).length > 0)
  byId('measures').hidden = !hasAny
  drawEmpty(events, hasAny)
  if (!hasAny) return
  const isTable = checkedOf('view') === 'table'
  byId('charts').hidden = isTable
  byId('chart-hint').hidden = isTable
  byId('tables').hidden = !isTable
  if (isTable) drawTables(runs)
  else drawCharts(runs)
}

/** @param {string} name */
function checkedOf(name) {
  return /** @type {HTMLInputElement} */ (document.querySelector(`input[name="${name}"]:checked`)).value
}

/**
 * @param {readonly RunEvent[]} events
 * @param {boolean} hasAny
 */
function drawEmpty(events, hasAny) {
  byId('empty').hidden = hasAny || (!state.hasList && state.connection !== 'lost')
  const isOver = events.some(({ event }) => event === 'end' || event === 'error')
  const [title, text] = isOver
    ? ['Nothing was measured', 'The training ended before its first log.']
    : beginning(events)
      ? [
          'Waiting for the first log',
          'The training has begun. Its first step also compiles the model and takes longer than the others.',
        ]
      : given || state.runs.length > 0
        ? [
            'The training is being prepared',
            'The model is being opened and the data read. What is measured appears here by itself.',
          ]
        : ['No runs yet', 'A training that records its metrics in this folder appears here by itself.']
  setText(byId('empty-title'), title)
  setText(byId('empty-text'), text)
}

/** @param {{ id: string, color: number, events: readonly RunEvent[] }[]} runs */
function drawCharts(runs) {
  const axis = /** @type {'step' | 'time'} */ (checkedOf('axis'))
  const weight = Number(inputById('smoothing').value)
  const lines = runs.map(run => ({ ...run, lines: linesOf(run.events, axis) }))
  const wanted = chartsOf(lines.flatMap(run => [...run.lines.keys()]))
  for (const [name, chart] of charts) {
    if (wanted.some(([first]) => first === name)) continue
    chart.destroy()
    charts.delete(name)
  }
  const places = lines.flatMap(run => [...run.lines.values()].flatMap(({ x }) => [x[0], x[x.length - 1]]))
  const [first, last] = [Math.min(...places), Math.max(...places)]
  const whole = /** @type {[number, number]} */ (first < last ? [first, last] : [first - 0.5, first + 0.5])
  for (const names of wanted) {
    const [name] = names
    const drawn = lines.flatMap(run =>
      names.flatMap(measure => {
        const line = run.lines.get(measure)
        if (!line) return []
        const part = names.length > 1 ? (measure === 'loss' ? 'training' : 'evaluation') : ''
        const label = runs.length > 1 ? [run.id, part].filter(Boolean).join(' ') : part || measureOf(name).title
        const isSmoothed =
          weight > 0 && !measure.startsWith('eval_') && !UNSMOOTHED.includes(measure) && line.x.length > 2
        /** @type {Drawn} */
        const entry = {
          label,
          color: run.color,
          dashed: measure === 'eval_loss',
          line: isSmoothed ? { x: line.x, y: smoothed(line.y, weight) } : line,
          raw: isSmoothed ? line : undefined,
        }
        return [entry]
      }),
    )
    chartOf(name).draw(drawn, {
      axis,
      isLog: inputById('log').checked && LOGARITHMIC.includes(name),
      range: state.zoom ?? whole,
    })
  }
  const order = wanted.map(([name]) => /** @type {Chart} */ (charts.get(name)).root)
  const holder = byId('charts')
  if (order.some((root, i) => holder.children[i] !== root)) holder.replaceChildren(...order)
}

/** Measurements that have no noise. */
const UNSMOOTHED = ['learning_rate', 'memory_bytes']

/** Measurements that are amounts: what matters is how much of all there is. */
const FROM_ZERO = ['tokens_per_second', 'memory_bytes']

/** Measurements that the log scale is for. */
const LOGARITHMIC = ['loss', 'eval_perplexity', 'learning_rate', 'grad_norm']

/** @param {string} name */
function chartOf(name) {
  const known = charts.get(name)
  if (known) return known
  const { title, format, unit } = measureOf(name)
  const chart = new Chart({
    title,
    format,
    unit,
    isWide: name === 'loss',
    fromZero: FROM_ZERO.includes(name),
    onZoom: zoomTo,
    onHover: x => {
      for (const other of charts.values()) if (other !== chart) other.follow(x)
    },
    announce: text => setText(byId('announce'), text),
  })
  charts.set(name, chart)
  byId('charts').append(chart.root)
  return chart
}

/** @param {[number, number] | undefined} range */
function zoomTo(range) {
  state.zoom = range
  inputById('reset').disabled = range === undefined
  render()
}

/** @param {{ id: string, color: number, events: readonly RunEvent[] }[]} runs */
function drawTables(runs) {
  const tables = byId('tables')
  const shape = JSON.stringify([runs.map(({ id, events }) => [id, events.length]), [...state.whole]])
  if (tables.dataset.shape === shape) return
  tables.dataset.shape = shape
  tables.replaceChildren(
    ...runs.map(({ id, events }) => {
      const { columns, rows } = tableOf(events)
      const shown = state.whole.has(id) ? rows : rows.slice(0, ROWS)
      const head = columns.map(name =>
        element(
          'th',
          { scope: 'col' },
          name === 'step' ? 'Step' : name === 'loss' ? 'Training loss' : measureOf(name).title,
        ),
      )
      const body = shown.map(row =>
        element(
          'tr',
          {},
          ...columns.map((name, i) => {
            const value = row[name]
            const text =
              value === undefined
                ? ''
                : typeof value !== 'number'
                  ? String(value)
                  : i === 0
                    ? String(value)
                    : measureOf(name).format(value)
            return i === 0 ? element('th', { scope: 'row' }, text) : element('td', {}, text)
          }),
        ),
      )
      const table = element(
        'table',
        {},
        element('caption', {}, id),
        element('thead', {}, element('tr', {}, ...head)),
        element('tbody', {}, ...body),
      )
      const more = element(
        'button',
        {
          type: 'button',
          class: 'more',
          onclick: () => {
            state.whole.add(id)
            render()
          },
        },
        `Show all ${formatCount(rows.length)} rows`,
      )
      return element(
        'div',
        {},
        element(
          'div',
          { class: 'table-scroll', tabindex: 0, role: 'region', 'aria-label': `Measurements of ${id}` },
          table,
        ),
        ...(shown.length < rows.length ? [more] : []),
      )
    }),
  )
}

/** The settings of the runs beside each other; those that differ are marked. */
function drawArguments() {
  const runs = shownRuns().map(({ id, events }) => ({ id, settings: argumentsOf(events) }))
  const names = [...new Set(runs.flatMap(({ settings }) => Object.keys(settings)))]
  const panel = byId('arguments')
  panel.hidden = names.length === 0
  const shape = JSON.stringify(runs)
  if (panel.dataset.shape === shape) return
  panel.dataset.shape = shape
  const write = (/** @type {unknown} */ value) =>
    value === undefined ? '–' : typeof value === 'string' ? value : JSON.stringify(value)
  const rows = names.map(name => {
    const values = runs.map(({ settings }) => write(settings[name]))
    return { name, values, differs: new Set(values).size > 1 }
  })
  rows.sort((a, b) => Number(b.differs) - Number(a.differs))
  const differing = rows.filter(({ differs }) => differs).length
  setText(byId('arguments-note'), runs.length > 1 ? `${differing} of ${rows.length} differ` : '')
  const head = element(
    'thead',
    {},
    element(
      'tr',
      {},
      element('th', { scope: 'col' }, 'Setting'),
      ...runs.map(({ id }) => element('th', { scope: 'col' }, id)),
    ),
  )
  const body = rows.map(({ name, values, differs }) =>
    element(
      'tr',
      { class: differs ? 'differs' : undefined },
      element(
        'th',
        { scope: 'row' },
        name,
        ...(differs ? [element('span', { class: 'hidden-label' }, ' (differs)')] : []),
      ),
      ...values.map(value => element('td', {}, value)),
    ),
  )
  byId('arguments-table').replaceChildren(
    element(
      'div',
      { class: 'table-scroll', tabindex: 0, role: 'region', 'aria-label': 'Settings' },
      element('table', { class: 'words' }, head, element('tbody', {}, ...body)),
    ),
  )
}

/** @param {readonly RunEvent[]} events */
function drawEvents(events) {
  const told = events.filter(({ event }) => !['log', 'evaluation', 'samples'].includes(event))
  const panel = byId('events')
  panel.hidden = told.length === 0
  const shape = `${state.main} ${told.length}`
  if (panel.dataset.shape === shape) return
  panel.dataset.shape = shape
  setText(byId('events-note'), String(told.length))
  byId('events-list').replaceChildren(
    ...told
      .map(event =>
        element(
          'li',
          {},
          element('span', { class: 'muted' }, formatTime(event.time)),
          element('span', { class: 'muted' }, `step ${event.step}`),
          element('span', {}, sentenceOf(event)),
        ),
      )
      .reverse(),
  )
}

/**
 * What happened, in words.
 *
 * @param {RunEvent} event
 * @returns {string}
 */
function sentenceOf(event) {
  switch (event.event) {
    case 'start':
      return `Training began: ${formatCount(event.max_steps)} steps`
    case 'resume':
      return 'Resumed from a checkpoint'
    case 'save':
      return event.checkpoint ? `${event.checkpoint} written` : 'Model saved'
    case 'skip':
      return event.action === 'backoff'
        ? `Went back to step ${event.restored_step}, rates times ${event.rate_factor}: ${event.problem}`
        : `Step left out: ${event.problem}`
    case 'pause':
      return 'Ended with a checkpoint, to be resumed later'
    case 'end':
      return event.stopped ? 'Ended early, as asked' : 'Complete'
    case 'error':
      return `${event.name}: ${event.message}`
    default:
      return event.event
  }
}

/** The theme that was chosen, or the system's. */
function applyTheme() {
  const choice = /** @type {HTMLSelectElement} */ (byId('theme')).value
  const isDark = choice === 'dark' || (choice === 'auto' && matchMedia('(prefers-color-scheme: dark)').matches)
  document.documentElement.dataset.theme = isDark ? 'dark' : 'light'
  render()
}

/** What a browser remembers may be switched off. */
const memory = {
  get: () => {
    try {
      return localStorage.getItem('theme')
    } catch {
      return null
    }
  },
  /** @param {string} theme */
  set: theme => {
    try {
      localStorage.setItem('theme', theme)
    } catch {
      // The page works the same; only the choice is forgotten.
    }
  },
}

const theme = /** @type {HTMLSelectElement} */ (byId('theme'))
const remembered = memory.get()
if (remembered === 'light' || remembered === 'dark') theme.value = remembered
theme.addEventListener('change', () => {
  memory.set(theme.value)
  applyTheme()
})
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', applyTheme)
for (const id of ['view', 'axis']) {
  byId(id).addEventListener('change', () => {
    if (id === 'axis') zoomTo(undefined)
    render()
  })
}
inputById('smoothing').addEventListener('input', () => {
  setText(byId('smoothing-value'), Number(inputById('smoothing').value).toFixed(2))
  render()
})
inputById('log').addEventListener('change', render)
byId('reset').addEventListener('click', () => zoomTo(undefined))
const details = /** @type {HTMLDetailsElement} */ (byId('runs-details'))
details.open = matchMedia('(min-width: 1000px)').matches

applyTheme()
if (given) give(given)
listen()
