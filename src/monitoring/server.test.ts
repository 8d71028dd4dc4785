import { request } from 'node:http'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { metricsFile } from './metrics-file.ts'
import { runsPage, trainingPage } from './server.ts'
import { CalledTraining } from './testing/training.ts'

const tokenOf = async (url: string) => /name="peft-token" content="([^"]+)"/.exec(await (await fetch(url)).text())![1]

const ask = (url: string, action: string, headers: Record<string, string> = {}) =>
  fetch(`${url}api/control`, { method: 'POST', headers, body: JSON.stringify({ action }) })

/** `fetch` does not let a Host be chosen. */
const statusFor = (url: string, host: string) =>
  new Promise<number | undefined>((done, failed) => {
    request(url, { headers: { host } }, response => {
      response.resume()
      done(response.statusCode)
    })
      .on('error', failed)
      .end()
  })

/** The first of the server-sent events of a page, by their names. */
async function firstMessages(url: string, runs: string[], count: number): Promise<Record<string, unknown>[]> {
  const stop = new AbortController()
  const query = runs.map(run => `run=${encodeURIComponent(run)}`).join('&')
  const response = await fetch(`${url}api/live?${query}`, { signal: stop.signal })
  let text = ''
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk
    if (text.split('\n\n').length > count) break
  }
  stop.abort()
  return text
    .split('\n\n')
    .slice(0, count)
    .map(message => ({
      event: /^event: (.*)$/m.exec(message)?.[1],
      data: JSON.parse(/^data: (.*)$/m.exec(message)![1]),
    }))
}

async function setting() {
  const parent = await temporaryFolder({})
  const folder = join(parent, 'out')
  const page = await trainingPage(folder)
  const training = new CalledTraining([metricsFile(folder), page.callback])
  return { parent, folder, page, training, token: await tokenOf(page.url) }
}

describe('the server of the page', () => {
  it('holds a training between two steps, lets it go on, and asks it to end', async () => {
    const { page, training, token } = await setting()
    const headers = { 'x-peft-token': token }
    expect((await ask(page.url, 'pause', headers)).status).toBe(409)
    await training.begin()
    expect((await ask(page.url, 'pause', headers)).status).toBe(200)
    const report = { step: 1, epoch: 0, maxSteps: 20, loss: 1, learningRate: 1, gradNorm: 1, tokens: 1, seconds: 1 }
    let isHeld = true
    const step = training.call('onStepEnd', report).then(() => (isHeld = false))
    await new Promise(resolve => setTimeout(resolve, 30))
    expect(isHeld).toBe(true)
    await ask(page.url, 'continue', headers)
    await step
    expect((await ask(page.url, 'stop', headers)).status).toBe(200)
    expect(training.control.shouldTrainingStop).toBe(true)
    expect((await ask(page.url, 'pause', headers)).status).toBe(409)
    await page.close()
  })

  it('asks for a checkpoint to resume from, and lets go of a paused training that is interrupted', async () => {
    const signal = new AbortController()
    const page = await trainingPage(join(await temporaryFolder({}), 'out'), { signal: signal.signal })
    const training = new CalledTraining([page.callback])
    await training.begin()
    const headers = { 'x-peft-token': await tokenOf(page.url) }
    await ask(page.url, 'pause', headers)
    const report = { step: 1, epoch: 0, maxSteps: 20, loss: 1, learningRate: 1, gradNorm: 1, tokens: 1, seconds: 1 }
    const step = training.call('onStepEnd', report)
    signal.abort()
    await step
    await ask(page.url, 'suspend', headers)
    expect(training.control.shouldPause).toBe(true)
    await page.close()
  })

  it('does nothing for pages of others: without the token, under another name, for an unknown action', async () => {
    const { page, training, token } = await setting()
    await training.begin()
    expect((await ask(page.url, 'stop')).status).toBe(403)
    expect((await ask(page.url, 'stop', { 'x-peft-token': 'guessed' })).status).toBe(403)
    expect((await ask(page.url, 'explode', { 'x-peft-token': token })).status).toBe(400)
    expect(training.control.shouldTrainingStop).toBe(false)
    expect(await statusFor(page.url, 'evil.example')).toBe(403)
    expect(await statusFor(page.url, 'localhost:9000')).toBe(200)
    expect(await statusFor(`${page.url}..%2f..%2fpackage.json`, 'localhost')).toBe(404)
    const policy = (await fetch(page.url)).headers.get('content-security-policy')
    expect(policy).toContain("default-src 'none'")
    await page.close()
  })

  it('tells the runs in the folders beside, and the events of those that are asked for', async () => {
    const { parent, page, training } = await setting()
    await training.begin()
    await training.log(5)
    await new CalledTraining([metricsFile(join(parent, 'other'))]).begin()
    const [runs, state, events] = await firstMessages(page.url, ['out', '../out'], 3)
    expect(runs).toMatchObject({
      event: 'runs',
      data: { runs: [{ id: 'other' }, { id: 'out', step: 5, status: 'running' }] },
    })
    expect(state).toMatchObject({ event: 'state', data: { phase: 'running', max_steps: 20, can_suspend: true } })
    expect(events).toMatchObject({
      data: { run: 'out', isFresh: true, events: [{ event: 'start' }, { event: 'log' }] },
    })
    await page.close()
  })

  it('refuses a port that is taken and a folder without runs, naming the way out', async () => {
    const { parent, page } = await setting()
    const port = Number(new URL(page.url).port)
    await expect(trainingPage(join(parent, 'x'), { port })).rejects.toThrow(
      /port \d+: another program has it. Name another/,
    )
    await expect(runsPage(parent)).rejects.toThrow(/holds no recorded run.*metrics\.jsonl/)
    await page.close()
  })
})
