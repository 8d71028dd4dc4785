/** @file Names and times of answers. */
import { randomBytes } from 'node:crypto'

/** A name that no other answer has. */
export function newId(prefix: string): string {
  return `${prefix}-${randomBytes(12).toString('hex')}`
}

/** Seconds since 1970. */
export function now(): number {
  return Math.floor(Date.now() / 1000)
}
