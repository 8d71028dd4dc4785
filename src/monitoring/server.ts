/** @file The page of a training: its files, its live data and its buttons, served on the loopback address. */
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, resolve } from 'node:path'
import { type ServerType, serve } from '@hono/node-server'
import { Hono } from 'hono'
import { streamSSE } from 'hono/streaming'
import type { TrainerCallback, TrainResult } from '../training/index.ts'
import { CONTROL_ACTIONS, type ControlAction, TrainingControl } from './control.ts'
import { type LiveMessage, LiveView } from './live.ts'
import { METRICS_FILE } from './metrics-file.ts'
import { findRuns, type RunFolder, RunSummaries } from './runs.ts'

/** The address that only this machine reaches. */
const LOOPBACK = '127.0.0.1'

/** Names of this machine that a browser may have been given; any other is a foreign page that was made to point here. */
const OWN_HOST = /^(127\.0\.0\.1|localhost|\[::1\])(:\d+)?$/

/** Milliseconds between two looks at the files. */
const INTERVAL = 400

const TYPES: Record<string, string> = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
}

/** The page's own files beside this one; `uplot.*` come from that package. */
const FILES = ['page.css', 'main.js', 'chart.js', 'data.js', 'format.js', 'samples.js', 'dom.js', 'stream.js']

/** A page that is being served. */
export interface TrainingPage {
  /** Where it is, such as `http://127.0.0.1:6007/`. */
  url: string
  /** To be given to the Trainer: it makes the progress of each step and the buttons work. */
  callback: TrainerCallback<TrainResult>
  /** Tells the last news to all who look, and ends. */
  close(): Promise<void>
}

/** Options of {@link trainingPage}. */
export interface TrainingPageOptions {
  /** The port; by default any that is free. */
  port?: number
  /** What interrupts the training: a training that is paused then goes on to its end. */
  signal?: AbortSignal
}

/**
 * Serves the live page of a training that records its metrics in `folder`; runs in the folders beside it can be laid
 * over it.
 *
 * @throws when the port is taken
 * @example
 * const page = await trainingPage('out')
 * const trainer = new Trainer({ ..., callbacks: [metricsFile('out'), page.callback] })
 */
export async function trainingPage(folder: string, { port, signal }: TrainingPageOptions = {}): Promise<TrainingPage> {
  const control = new TrainingControl(signal)
  const path = resolve(folder)
  const server = await servePage({ root: dirname(path), depth: 1, main: basename(path), port, control })
  return { ...server, callback: control.callback }
}

/**
 * Serves the page of recorded runs: that of `folder`, or of the folders within it.
 *
 * @throws when there are none, or the port is taken
 */
export async function runsPage(
  folder: string,
  { port }: Pick<TrainingPageOptions, 'port'> = {},
): Promise<Omit<TrainingPage, 'callback'>> {
  const path = resolve(folder)
  const [own, ...within] = await findRuns(path, 2)
  if (!own) {
    throw new Error(
      `${folder} holds no recorded run: neither it nor a folder within it has ${METRICS_FILE}. Name the output folder of ` +
        'a training, or the folder that holds several.',
    )
  }
  if (own.folder === path && within.length === 0) {
    return servePage({ root: dirname(path), depth: 1, main: basename(path), port })
  }
  return servePage({ root: path, depth: 2, port })
}

interface PageOptions {
  root: string
  depth: number
  /** The run that is shown first; by default the latest. */
  main?: string
  port: number | undefined
  control?: TrainingControl
}

async function servePage({ root, depth, main, port, control }: PageOptions): Promise<Omit<TrainingPage, 'callback'>> {
  const token = randomBytes(24).toString('base64url')
  const summaries = new RunSummaries()
  const open = new Set<Promise<void>>()
  const ending = new AbortController()
  const runs = (): Promise<RunFolder[]> => findRuns(root, depth)
  const source = { runs, summaries: summaries.of.bind(summaries), state: () => control?.state ?? null }

  const app = new Hono()
  app.use(async (context, next) => {
    if (!OWN_HOST.test(context.req.header('host') ?? ''))
      return context.text('This page is for this machine alone.', 403)
    await next()
    context.header('cache-control', 'no-store')
    context.header('x-content-type-options', 'nosniff')
    context.header('referrer-policy', 'no-referrer')
    context.header('cross-origin-resource-policy', 'same-origin')
  })

  app.get('/', async context => {
    const nonce = randomBytes(16).toString('base64url')
    const text = (await readFile(new URL('./page/page.html', import.meta.url), 'utf8'))
      .replaceAll('%NONCE%', nonce)
      .replaceAll('%TOKEN%', token)
      .replaceAll('%MAIN%', escapeHtml(main ?? ''))
    context.header(
      'content-security-policy',
      `default-src 'none'; script-src 'self' 'nonce-${nonce}'; style-src 'self'; connect-src 'self'; img-src data:; ` +
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    )
    return context.body(text, 200, { 'content-type': TYPES.html })
  })
  for (const name of FILES) serveFile(app, name, () => readFile(new URL(`./page/${name}`, import.meta.url)))
  serveFile(app, 'uplot.js', () => uplotFile('uPlot.esm.js'))
  serveFile(app, 'uplot.css', () => uplotFile('uPlot.min.css'))

  app.get('/api/live', context => {
    const view = new LiveView(source, context.req.queries('run') ?? [])
    return streamSSE(context, stream => {
      const telling = tell(
        view,
        ({ event, data }) => stream.writeSSE({ event, data: JSON.stringify(data) }),
        () => stream.aborted || stream.closed,
        ending.signal,
      )
      open.add(telling)
      return telling.finally(() => open.delete(telling))
    })
  })

  app.post('/api/control', async context => {
    if (context.req.header('x-peft-token') !== token) return context.text('The token is not that of this page.', 403)
    const { action } = (await context.req.json().catch(() => ({}))) as { action?: ControlAction }
    if (!action || !CONTROL_ACTIONS.includes(action)) {
      return context.text(`action is ${JSON.stringify(action)}, expected one of ${CONTROL_ACTIONS.join(', ')}.`, 400)
    }
    if (!control?.ask(action)) return context.text('No training is running here that could be asked.', 409)
    return context.json(control.state)
  })

  const server = await listen(app, port)
  const address = server.address() as { port: number }
  return {
    url: `http://${LOOPBACK}:${address.port}/`,
    async close() {
      ending.abort()
      await Promise.allSettled(open)
      await closeServer(server)
    },
  }
}

/** Tells what changes until the page is left, or until the end, after the last news. */
async function tell(
  view: LiveView,
  write: (message: LiveMessage) => Promise<void>,
  isLeft: () => boolean,
  ending: AbortSignal,
): Promise<void> {
  while (!isLeft()) {
    const isLast = ending.aborted
    for (const message of await view.next()) await write(message)
    if (isLast) return write({ event: 'closing', data: null })
    await pause(INTERVAL, ending)
  }
}

/** Waits, but not beyond `ending`. */
function pause(milliseconds: number, ending: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const done = () => {
      clearTimeout(timer)
      ending.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, milliseconds)
    ending.addEventListener('abort', done)
    if (ending.aborted) done()
  })
}

function serveFile(app: Hono, name: string, read: () => Promise<Uint8Array>): void {
  app.get(`/${name}`, async context => {
    const body = new Uint8Array(await read())
    return context.body(body, 200, { 'content-type': TYPES[name.slice(name.lastIndexOf('.') + 1)] })
  })
}

/** A file of the package `uplot`, which draws the charts. */
function uplotFile(name: string): Promise<Uint8Array> {
  return readFile(createRequire(import.meta.url).resolve(`uplot/dist/${name}`))
}

async function listen(app: Hono, port: number | undefined): Promise<ServerType> {
  return new Promise((done, failed) => {
    const server = serve({ fetch: app.fetch, hostname: LOOPBACK, port: port ?? 0 }, () => done(server))
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const why = cause.code === 'EADDRINUSE' ? 'another program has it' : cause.message
      failed(
        new Error(`The page cannot be served on port ${port}: ${why}. Name another port, or none for a free one.`, {
          cause,
        }),
      )
    })
  })
}

/** Closes a server once what it has told has been sent; who does not take it within a second loses it. */
function closeServer(server: ServerType): Promise<void> {
  if (!('closeIdleConnections' in server)) return Promise.resolve(void server.close())
  return new Promise(resolve => {
    const deadline = performance.now() + 1000
    const timer = setInterval(() => {
      if (performance.now() > deadline) server.closeAllConnections()
      else server.closeIdleConnections()
    }, 20)
    server.close(() => {
      clearInterval(timer)
      resolve()
    })
  })
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, character => `&#${character.codePointAt(0)};`)
}
