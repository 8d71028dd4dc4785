/** @file Listening: the interface on a port, with limits of time, and an end that lets answers finish. */
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { serve as listen } from '@hono/node-server'
import { type AppOptions, createApp } from './app.ts'
import type { TextBackend } from './backend.ts'
import { isLoopback } from './guards.ts'

/** Where and how to listen. */
export interface ServeOptions extends Omit<AppOptions, 'loopbackOnly'> {
  /** The address to listen on (127.0.0.1). Any that other machines can reach needs `apiKey`. */
  host?: string
  /** 0 for any that is free (8000). */
  port?: number
  /** How long a request may take to arrive, in milliseconds (30000). */
  requestTimeout?: number
}

/** A server that listens. */
export interface RunningServer {
  /** Such as `http://127.0.0.1:8000`. */
  readonly url: string
  readonly port: number
  /**
   * Takes no more connections, and ends those that there are.
   *
   * @param grace how long answers may take to end by themselves, in milliseconds (0)
   */
  close(grace?: number): Promise<void>
}

/**
 * Serves a backend by HTTP, as OpenAI's clients expect it.
 *
 * @throws when the host is not this machine's alone and there is no `apiKey`, or the port is taken
 * @example
 * const server = await serve(backend, { port: 8000 })
 * const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none' })
 */
export async function serve(
  backend: TextBackend & { close(grace?: number): Promise<void> },
  options: ServeOptions = {},
): Promise<RunningServer> {
  const { host = '127.0.0.1', port = 8000, requestTimeout = 30_000, ...rest } = options
  const loopbackOnly = isLoopback(host)
  if (!loopbackOnly && !rest.apiKey) {
    throw new Error(
      `Other machines can reach a server on ${host}: give it a token with apiKey, or leave host out to listen on 127.0.0.1 alone`,
    )
  }
  const app = createApp(backend, { ...rest, loopbackOnly })
  const server = await new Promise<Server>((resolve, reject) => {
    const listening = listen(
      {
        fetch: app.fetch,
        hostname: host,
        port,
        overrideGlobalObjects: false,
        serverOptions: {
          requestTimeout,
          headersTimeout: Math.min(requestTimeout, 10_000),
          connectionsCheckingInterval: Math.min(1000, requestTimeout),
        },
      },
      () => resolve(listening),
    ) as Server
    listening.once('error', reject)
  })
  const bound = (server.address() as AddressInfo).port
  return {
    url: `http://${host.includes(':') ? `[${host.replace(/^\[|\]$/g, '')}]` : host}:${bound}`,
    port: bound,
    async close(grace = 0) {
      const closed = new Promise<void>(resolve => server.close(() => resolve()))
      server.closeIdleConnections()
      await backend.close(grace)
      // What was written last still has to leave.
      await new Promise(resolve => setTimeout(resolve, 50))
      server.closeAllConnections()
      await closed
    },
  }
}
