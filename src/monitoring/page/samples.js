/** @file The samples of a run, evaluation after evaluation, with what changed since the one before. */
import { changes } from './data.js'
import { byId, element } from './dom.js'

/**
 * @import { RunEvent, Sample, SamplesEvent } from '../events.ts'
 */

/** The panel; it shows the latest evaluation until another is chosen. */
export class SamplesPanel {
  /** @type {number | undefined} the chosen evaluation; undefined to follow the latest */
  #chosen
  #shown = ''

  /**
   * @param {string} run
   * @param {readonly RunEvent[]} events
   */
  show(run, events) {
    const panel = byId('samples')
    const all = /** @type {SamplesEvent[]} */ (events.filter(({ event }) => event === 'samples'))
    panel.hidden = all.length === 0
    if (all.length === 0) return
    const at = Math.min(this.#chosen ?? all.length - 1, all.length - 1)
    const shape = `${run} ${all.length} ${at}`
    if (shape === this.#shown) return
    this.#shown = shape
    const focused = document.activeElement?.getAttribute('data-key')
    const [now, before] = [all[at], all[at - 1]]
    const go = (/** @type {number} */ to) => {
      this.#chosen = to >= all.length - 1 ? undefined : to
      this.show(run, events)
    }
    const step = (/** @type {string} */ name, /** @type {string} */ sign, /** @type {number} */ to) =>
      element(
        'button',
        {
          type: 'button',
          'data-key': name,
          'aria-label': name,
          disabled: to < 0 || to >= all.length,
          onclick: () => go(to),
        },
        sign,
      )
    const choice = element(
      'select',
      {
        'aria-label': 'Evaluation',
        'data-key': 'choice',
        onchange: (/** @type {Event} */ event) => go(Number(/** @type {HTMLSelectElement} */ (event.target).value)),
      },
      ...all.map(({ step: trained }, i) => element('option', { value: i, selected: i === at }, `Step ${trained}`)),
    )
    const changed = before ? now.samples.filter((sample, i) => sample.output !== before.samples[i]?.output).length : 0
    panel.replaceChildren(
      element(
        'div',
        { class: 'panel-head' },
        element('h2', { id: 'samples-title' }, now.kind === 'generation' ? 'Generated text' : 'Predictions'),
        element(
          'span',
          { class: 'muted' },
          before
            ? `${changed} of ${now.samples.length} changed since step ${before.step}`
            : 'held-out examples, first evaluation',
        ),
        element(
          'div',
          { class: 'stepper' },
          step('Earlier evaluation', '‹', at - 1),
          choice,
          step('Later evaluation', '›', at + 1),
        ),
      ),
      now.kind === 'generation' ? texts(now, before) : predictions(now, before),
    )
    if (focused) {
      const again = /** @type {HTMLElement | null} */ (panel.querySelector(`[data-key="${focused}"]`))
      again?.focus()
    }
  }
}

/**
 * @param {SamplesEvent} now
 * @param {SamplesEvent | undefined} before
 */
function texts(now, before) {
  return element(
    'ul',
    { class: 'sample-list' },
    ...now.samples.map(({ input, expected, output }, i) => {
      const old = before?.samples[i]?.output
      const words = old === undefined ? [{ text: output, isNew: false }] : changes(old, output)
      const isChanged = old !== undefined && old !== output
      const part = (/** @type {string} */ title, /** @type {Node} */ content, /** @type {Node[]} */ ...badges) =>
        element('div', { class: title === 'Output' ? 'said' : undefined }, element('h3', {}, title, ...badges), content)
      return element(
        'li',
        { class: 'sample' },
        part('Input', element('p', {}, input)),
        part(
          'Output',
          element('p', {}, ...words.map(({ text, isNew }) => (isNew ? element('mark', {}, text) : text))),
          ...(isChanged ? [element('span', { class: 'badge' }, 'changed')] : []),
        ),
        ...(expected === undefined ? [] : [part('Expected', element('p', { class: 'muted' }, expected))]),
      )
    }),
  )
}

/**
 * @param {SamplesEvent} now
 * @param {SamplesEvent | undefined} before
 */
function predictions(now, before) {
  const hasConfidence = now.samples.some(({ confidence }) => confidence !== undefined)
  const titles = ['Text', 'Expected', 'Predicted', ...(hasConfidence ? ['Confidence'] : [])]
  const cell = (/** @type {number} */ column, /** @type {(Node | string)[]} */ ...content) =>
    element('td', { 'data-column': titles[column] }, element('span', {}, ...content))
  const rows = now.samples.map((sample, i) => {
    const { input, expected, output, confidence } = sample
    const old = before?.samples[i]?.output
    const isChanged = old !== undefined && old !== output
    return element(
      'tr',
      { class: isChanged ? 'changed' : undefined },
      cell(0, input),
      cell(1, expected ?? '–'),
      cell(
        2,
        verdict(sample),
        ...(isChanged ? [' ', element('span', { class: 'badge' }, old.length < 24 ? `was ${old}` : 'changed')] : []),
      ),
      ...(hasConfidence ? [cell(3, confidence === undefined ? '–' : bar(confidence))] : []),
    )
  })
  const head = element('thead', {}, element('tr', {}, ...titles.map(title => element('th', { scope: 'col' }, title))))
  const table = element('table', { class: 'words' }, head, element('tbody', {}, ...rows))
  return element(
    'div',
    { class: 'table-scroll stacked', tabindex: 0, role: 'region', 'aria-label': 'Predictions' },
    table,
  )
}

/** @param {Sample} sample */
function verdict({ expected, output }) {
  if (expected === undefined) return output
  const isRight = expected === output
  return element(
    'span',
    { class: 'verdict', 'data-right': isRight ? 'yes' : 'no' },
    element('span', { 'aria-hidden': 'true' }, isRight ? '✓ ' : '✗ '),
    output,
    element('span', { class: 'hidden-label' }, isRight ? ' (right)' : ' (wrong)'),
  )
}

/** @param {number} confidence */
function bar(confidence) {
  const text = `${(100 * confidence).toFixed(1)} %`
  return element(
    'span',
    { class: 'confidence' },
    element('progress', { max: 1, value: confidence, 'aria-hidden': 'true' }),
    text,
  )
}
