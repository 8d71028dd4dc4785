import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { skippable } from '../../test/shared.ts'
import { temporaryFolder } from '../../test/temporary.ts'
import { peft, reviews, saveTinyBert } from '../cli/testing/peft.ts'
import { metricsFile, readEvents } from './metrics-file.ts'
import { formatMetric } from './page/format.js'
import { runsPage } from './server.ts'
import { noBrowser, openBrowser } from './testing/browser.ts'
import { eventFiles, readEventFile } from './testing/event-file.ts'
import { CalledTraining } from './testing/training.ts'

const NARROW = { width: 360, height: 740 }
const WIDE = { width: 1400, height: 900 }

/** The largest width of what is on the page, beside the width that there is. */
const widths = (page: Page) =>
  page.evaluate<number[]>('[document.documentElement.scrollWidth, document.documentElement.clientWidth]')
const ground = (page: Page) => page.evaluate<string>('getComputedStyle(document.body).backgroundColor')
const tile = async (page: Page, name: string) =>
  Number(await page.locator(`[data-measure="${name}"]`).getAttribute('data-value'))

describe.skipIf(noBrowser)(skippable('the page of a training, in a browser', noBrowser), { timeout: 60_000 }, () => {
  let browser: Browser
  const problems: string[] = []

  beforeAll(async () => {
    browser = await openBrowser()
  })
  afterAll(() => browser?.close())

  /** Opens a page and keeps what goes wrong on it, and what it asks of others. */
  async function open(url: string, { width, height } = WIDE, colorScheme: 'light' | 'dark' = 'light'): Promise<Page> {
    const page = await browser.newPage({ viewport: { width, height }, colorScheme })
    page.on('pageerror', error => problems.push(error.message))
    page.on('request', request => {
      if (!request.url().startsWith(url) && !request.url().startsWith('data:')) problems.push(request.url())
    })
    page.on('console', message => {
      if (message.type() === 'error') problems.push(message.text())
    })
    await page.goto(url)
    return page
  }

  it('shows a training while it runs, holds it, lets it go on, and ends it; log, event files and page agree', async () => {
    const parent = await temporaryFolder({ 'train.tsv': reviews(32) })
    const out = join(parent, 'first')
    const model = await saveTinyBert(parent)
    let told: (url: string) => void = () => {}
    const url = new Promise<string>(resolve => (told = resolve))
    const data = ['--data', join(parent, 'train.tsv'), '--eval-split', '0.25', '--task', 'seq_cls']
    const stop = new AbortController()
    onTestFinished(() => stop.abort())
    const training = peft(
      [
        ...['train', '--model', model, ...data, '--output', out, '--max-steps', '200000', '--threads', '1'],
        ...['--batch-size', '4', '--logging-steps', '20', '--eval-steps', '200', '--learning-rate', '0.001', '--ui'],
      ],
      { signal: stop.signal, onStderr: text => /http:\S+\//.test(text) && told(/http:\S+\//.exec(text)![0]) },
    )
    const page = await open(await url)
    await page.waitForSelector('[data-measure="eval_accuracy"]')
    expect(await page.textContent('#status')).toBe('Training')
    const shown = () => page.getAttribute('#bar', 'value').then(Number)
    const before = await shown()
    await expect.poll(shown, { timeout: 15_000 }).toBeGreaterThan(before)
    expect(await page.locator('#samples tbody tr').count()).toBe(8)

    await page.click('[data-action="pause"]')
    await page.waitForSelector('[data-action="continue"]')
    expect(await page.textContent('#status')).toBe('Paused')
    const held = (await readEvents(join(out, 'metrics.jsonl'))).length
    await page.waitForTimeout(300)
    expect(await readEvents(join(out, 'metrics.jsonl'))).toHaveLength(held)
    await page.click('[data-action="continue"]')
    await page.waitForSelector('[data-action="stop"]')
    await page.click('[data-action="stop"]')
    await page.click('#confirm-yes')
    expect((await training).code).toBe(0)
    await expect.poll(() => page.textContent('#status'), { timeout: 15_000 }).toBe('Finished early')
    expect(await page.textContent('#banner')).toContain('has ended')

    const events = await readEvents(join(out, 'metrics.jsonl'))
    const [log, evaluation, end] = ['log', 'evaluation', 'end'].map(
      kind => events.findLast(({ event }) => event === kind) as unknown as Record<string, number>,
    )
    expect(end).toMatchObject({ stopped: true, step: log.step })
    const [file] = await eventFiles(out)
    const { values } = await readEventFile(file)
    const lastOf = (tag: string) => values.findLast(value => value.tag === tag)?.scalar
    for (const name of ['loss', 'learning_rate', 'grad_norm', 'tokens_per_second', 'memory_bytes']) {
      expect(await tile(page, name)).toBe(log[name])
      expect(lastOf(`train/${name}`)).toBe(Math.fround(log[name]))
    }
    expect(await tile(page, 'eval_loss')).toBe(evaluation.eval_loss)
    expect(lastOf('eval/loss')).toBe(Math.fround(evaluation.eval_loss))
    await page.check('input[value="table"]')
    const row = page.locator('#tables tbody tr', { hasText: String(log.step) }).first()
    await row.waitFor()
    const cells = (await row.innerText()).split('\t').slice(0, 3)
    expect(cells).toEqual([String(log.step), log.epoch.toFixed(2), formatMetric(log.loss)])
    await page.close()
    expect(problems).toEqual([])
  })

  it('shows a finished run, another laid over it, light and dark, on phones and wide screens', async () => {
    const parent = await temporaryFolder({})
    for (const method of ['second', 'first']) {
      const training = new CalledTraining([metricsFile(join(parent, method), { details: { method } })])
      await training.begin()
      for (const step of [5, 10, 15, 20]) await training.log(step)
      await training.evaluate(20)
      await training.end()
    }
    const served = await runsPage(join(parent, 'first'))
    const page = await open(served.url)
    await page.waitForSelector('.chart canvas')
    expect(await page.textContent('#name')).toBe('first')
    expect(await page.locator('#runs li').count()).toBe(2)
    await page.click('#runs label:has-text("second")')
    await page.waitForSelector('.legend :text("second training")')
    await page.click('#arguments summary')
    expect(await page.locator('#arguments tr.differs').allInnerTexts()).toContainEqual(expect.stringMatching(/^method/))

    await page.locator('.chart .plot').first().focus()
    await page.keyboard.press('Home')
    expect(await page.textContent('#announce')).toMatch(/^step 5: first training 0\.1667, .*second training 0\.1667/)
    await page.keyboard.press('+')
    expect(await page.isEnabled('#reset')).toBe(true)
    await page.click('#reset')
    await page.check('#log')

    const light = await ground(page)
    await page.selectOption('#theme', 'dark')
    expect(await ground(page)).not.toBe(light)
    for (const size of [NARROW, WIDE]) {
      await page.setViewportSize(size)
      await page.waitForTimeout(100)
      const [needed, there] = await widths(page)
      expect(needed).toBeLessThanOrEqual(there)
    }
    await page.close()
    const dark = await open(served.url, NARROW, 'dark')
    await dark.waitForSelector('.chart canvas')
    expect(await ground(dark)).not.toBe(light)
    expect((await widths(dark))[0]).toBeLessThanOrEqual(NARROW.width)
    await dark.close()
    await served.close()
    expect(problems).toEqual([])
  })
})
