/** @file Who may ask: the token, and the name that a loopback server was called by. */
import { createHash, timingSafeEqual } from 'node:crypto'
import { ApiError } from './errors.ts'

/** Whether a host name stands for this machine alone. */
export function isLoopback(hostname: string): boolean {
  const name = hostname.replace(/^\[|\]$/g, '').toLowerCase()
  return name === 'localhost' || name === '::1' || /^127(\.\d{1,3}){3}$/.test(name)
}

/**
 * Refuses names that are not this machine's: a web page whose own name was made to lead here (DNS rebinding) would
 * otherwise be of the same origin.
 *
 * @throws ApiError 403
 */
export function checkHost(header: string | undefined): void {
  const name = /^(\[[^\]]*\]|[^:]*)(:\d+)?$/.exec(header ?? '')?.[1]
  if (name && isLoopback(name)) return
  throw new ApiError(
    403,
    `The server was called as "${header ?? ''}", and listens for this machine only: call it as localhost or 127.0.0.1.`,
    { code: 'forbidden_host' },
  )
}

/**
 * Compares the token of a request with the server's, in a time that tells nothing about it.
 *
 * @throws ApiError 401
 */
export function checkApiKey(header: string | undefined, expected: string): void {
  const given = /^Bearer +(.+)$/i.exec(header ?? '')?.[1]
  const digest = (text: string) => createHash('sha256').update(text).digest()
  if (given !== undefined && timingSafeEqual(digest(given), digest(expected))) return
  throw new ApiError(
    401,
    given === undefined
      ? "You didn't provide an API key. Send it as the header Authorization: Bearer KEY."
      : 'Incorrect API key provided.',
    { code: 'invalid_api_key', headers: { 'www-authenticate': 'Bearer' } },
  )
}
