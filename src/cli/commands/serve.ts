/** @file `peft serve`. */
import { existsSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { PeftModel } from '../../peft/index.ts'
import type { QuantizeName } from '../../quantization/index.ts'
import { adapterNameFor, findAdapters } from '../../serving/adapter-folders.ts'
import { isLoopback } from '../../serving/guards.ts'
import { openBackend, serve } from '../../serving/index.ts'
import { UsageError } from '../exit.ts'
import { locate, locateModel, openBaseModel, openTokenizer } from '../model.ts'
import type { Output } from '../output.ts'

/** The options of `peft serve`. */
export interface ServeCommandOptions {
  model: string
  adapters: readonly string[]
  name?: string
  host: string
  port: number
  apiKey?: string
  cors: readonly string[]
  maxBatch: number
  maxQueue: number
  prefillChunk: number
  maxBody: number
  context?: number
  requestTimeout: number
  grace: number
  seed: number
  mode: 'fast' | 'small'
  threads?: number
  keepPacked: boolean
  quantize?: QuantizeName
}

/** Serves a model and its adapters until it is told to stop. */
export async function serveModel(options: ServeCommandOptions, output: Output, signal?: AbortSignal): Promise<void> {
  const { host, port, maxBatch, maxQueue, context: maxContext, mode, threads, keepPacked } = options
  const apiKey = options.apiKey ?? (process.env.PEFT_API_KEY || undefined)
  if (!isLoopback(host) && apiKey === undefined) {
    throw new UsageError(
      `other machines can reach --host ${host}: give a token with --api-key or PEFT_API_KEY, or leave --host out`,
    )
  }
  const found = await findAdapters(options.adapters)
  const { model: name, quantize } = options
  const located = await locateModel({ model: name, quantize }, output, 'CAUSAL_LM')
  if (located.task !== 'CAUSAL_LM') throw new UsageError(`${options.model} is no decoder; only decoders can be served`)
  const tokenizer = await openTokenizer(located)
  const base = await openBaseModel(located, { seed: options.seed }, output)
  if (base.missingParameters.length) {
    output.warn(`${located.name} holds no values for ${base.missingParameters.join(', ')}: they are random`)
  }
  const model = found.length ? new PeftModel(base) : base
  const adapters: Record<string, string> = {}
  for (const { id, source } of found) {
    if (!(model instanceof PeftModel)) break
    signal?.throwIfAborted()
    adapters[id] = adapterNameFor(id, model.adapterNames())
    try {
      const folder = await locate(source, output)
      await model.loadAdapter(folder, adapters[id], { onWarning: text => output.warn(`${id}: ${text}`) })
    } catch (cause) {
      throw new Error(`The adapter "${id}" of ${source} could not be loaded: ${(cause as Error).message}`, { cause })
    }
  }
  const id = options.name ?? (existsSync(options.model) ? basename(resolve(options.model)) : options.model)
  const backend = await openBackend(model, tokenizer, {
    id,
    adapters,
    maxBatch,
    maxQueue,
    prefillChunk: options.prefillChunk,
    maxContext,
    mode,
    threads,
    keepPacked,
  })
  if (backend.exclusive.length) {
    output.note(`computed in batches of their own: ${backend.exclusive.join(', ')}`)
  }
  signal?.throwIfAborted()
  const server = await serve(backend, {
    host,
    port,
    apiKey,
    cors: options.cors,
    maxBodyBytes: Math.floor(options.maxBody * 1024 * 1024),
    requestTimeout: options.requestTimeout * 1000,
    onError: error => output.error(error instanceof Error ? error.message : String(error)),
  })
  const ids = backend.models.map(served => served.id)
  output.event(
    'listening',
    { url: server.url, models: ids },
    `listening on ${server.url}/v1, models: ${ids.join(', ')}`,
  )
  await stopped(signal)
  const { active, queued } = backend.load
  output.event('stopping', { active, queued }, `stopping; ${active + queued} answers may end within ${options.grace} s`)
  await server.close(options.grace * 1000)
}

function stopped(signal: AbortSignal | undefined): Promise<void> {
  return new Promise(resolve => {
    if (signal?.aborted) resolve()
    signal?.addEventListener('abort', () => resolve(), { once: true })
  })
}
