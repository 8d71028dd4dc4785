/** @file The HTTP interface: OpenAI's paths over a backend. */
import { type Context, Hono } from 'hono'
import { cors } from 'hono/cors'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import { didYouMean } from '../util/nearest.ts'
import { Answers } from './answers.ts'
import type { RowRequest, ServedModel, TextBackend } from './backend.ts'
import { readJson } from './body.ts'
import { chatChunks, chatCompletion } from './chat-answer.ts'
import { readChatRequest } from './chat-request.ts'
import { completion, completionChunks } from './completion-answer.ts'
import { readCompletionRequest } from './completion-request.ts'
import { ApiError, toApiError } from './errors.ts'
import { eventStream } from './event-stream.ts'
import { checkApiKey, checkHost } from './guards.ts'
import { newId } from './ids.ts'

/** What requests may do. */
export interface AppOptions {
  /** The token that requests must bring; by default none is needed. */
  apiKey?: string
  /** Whether only this machine's own names are answered to. */
  loopbackOnly?: boolean
  /** The origins of web pages that may ask; by default none. */
  cors?: readonly string[]
  /** The largest body in bytes (4 MiB). */
  maxBodyBytes?: number
  /** Told of errors that are the server's own. */
  onError?: (error: unknown) => void
}

const DEFAULT_BODY = 4 * 1024 * 1024

/** Each path with its method. */
const PATHS = {
  '/health': 'GET',
  '/v1/models': 'GET',
  '/v1/models/:id{.+}': 'GET',
  '/v1/chat/completions': 'POST',
  '/v1/completions': 'POST',
} as const

/**
 * The interface as a hono application, for any server that speaks `fetch`.
 *
 * @example
 * const app = createApp(backend)
 * const response = await app.request('/v1/models')
 */
export function createApp(backend: TextBackend, options: AppOptions = {}): Hono {
  const { apiKey, loopbackOnly = false, cors: origins = [], maxBodyBytes = DEFAULT_BODY, onError } = options
  const app = new Hono()
  const modelOf = (id: string) => findModel(backend.models, id)

  app.use(async (c, next) => {
    c.header('x-request-id', newId('req'))
    if (loopbackOnly) checkHost(c.req.header('host'))
    await next()
  })
  if (origins.length) app.use(cors({ origin: origins.includes('*') ? '*' : [...origins] }))
  app.use('/v1/*', async (c, next) => {
    if (apiKey !== undefined) checkApiKey(c.req.header('authorization'), apiKey)
    await next()
  })

  app.get('/health', c => {
    const { active, queued, maxBatch, maxQueue } = backend.load
    return c.json({ status: 'ok', active, queued, max_batch: maxBatch, max_queue: maxQueue })
  })
  app.get('/v1/models', c => c.json({ object: 'list', data: backend.models.map(describeModel) }))
  app.get('/v1/models/:id{.+}', c => c.json(describeModel(modelOf(c.req.param('id')))))
  app.post('/v1/chat/completions', async c => {
    const request = readChatRequest(await readJson(c.req.raw, maxBodyBytes), backend, modelOf)
    return answer(c, backend, request, { whole: chatCompletion, chunks: chatChunks })
  })
  app.post('/v1/completions', async c => {
    const request = readCompletionRequest(await readJson(c.req.raw, maxBodyBytes), backend, modelOf)
    return answer(c, backend, request, { whole: completion, chunks: completionChunks })
  })
  for (const [path, method] of Object.entries(PATHS)) {
    app.all(path, c => {
      const message = `${c.req.path} takes ${method}, got ${c.req.method}.`
      throw new ApiError(405, message, { code: 'method_not_allowed', headers: { allow: method } })
    })
  }
  app.notFound(c => {
    const paths = Object.keys(PATHS).map(path => path.replace(/:id.*/, '{id}'))
    const message = `There is no ${c.req.path}.${didYouMean(c.req.path, paths)} Paths: ${paths.join(', ')}.`
    return tell(c, new ApiError(404, message, { code: 'unknown_url' }))
  })
  app.onError((error, c) => {
    const known = toApiError(error)
    if (known.status === 500) onError?.(error)
    return tell(c, known)
  })
  return app
}

/** A request that was read. */
interface ReadRequest {
  rows: readonly RowRequest[]
  stream: boolean
}

/** How answers of one kind are written. */
interface AnswerForm<R> {
  whole(request: R, answers: Answers): Promise<object>
  chunks(request: R, answers: Answers): AsyncGenerator<object, void>
}

async function answer<R extends ReadRequest>(
  c: Context,
  backend: TextBackend,
  request: R,
  { whole, chunks }: AnswerForm<R>,
): Promise<Response> {
  const gone = new AbortController()
  const leave = () => gone.abort()
  c.req.raw.signal.addEventListener('abort', leave, { once: true })
  if (c.req.raw.signal.aborted) leave()
  const answers = new Answers(backend.submit(request.rows, gone.signal), request.rows, backend.tokenizer)
  if (!request.stream) return c.json(await whole(request, answers))
  c.header('content-type', 'text/event-stream; charset=utf-8')
  c.header('cache-control', 'no-cache')
  c.header('x-accel-buffering', 'no')
  return c.body(eventStream(chunks(request, answers), leave))
}

function findModel(models: readonly ServedModel[], id: string): ServedModel {
  const found = models.find(model => model.id === id)
  if (found) return found
  const known = models.map(model => model.id)
  throw new ApiError(404, `The model '${id}' does not exist.${didYouMean(id, known)} Known: ${known.join(', ')}.`, {
    param: 'model',
    code: 'model_not_found',
  })
}

function describeModel({ id, parent, created, contextLength }: ServedModel) {
  const max_model_len = Number.isFinite(contextLength) ? contextLength : null
  return { id, object: 'model', created, owned_by: 'peft-ts', root: parent ?? id, parent, max_model_len }
}

function tell(c: Context, error: ApiError): Response {
  return c.json(error.body, error.status as ContentfulStatusCode, { ...error.headers })
}
