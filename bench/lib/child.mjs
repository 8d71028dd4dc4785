/** @file Runs a measurement in a process of its own, so that its peak of memory is its own. */
import { spawnSync } from 'node:child_process'

/**
 * Runs a program whose last line of output is JSON, and gives that. Its error output is passed on.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {NodeJS.ProcessEnv} [env] added to the environment
 * @returns {any}
 * @throws when the program fails, or its last line is not JSON
 */
export function runJson(command, args, env = {}) {
  const { status, signal, error, stdout } = spawnSync(command, args, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  })
  const call = [command, ...args].join(' ')
  if (status !== 0) throw new Error(`${call} failed (${error?.message ?? signal ?? `exit code ${status}`}).\n${stdout}`)
  const last = stdout.trim().split('\n').at(-1) ?? ''
  try {
    return JSON.parse(last)
  } catch (cause) {
    throw new Error(`${call} should end with a line of JSON, got: ${last}`, { cause })
  }
}

/** `--name value` for each option that has a value. @param {Record<string, string | number | undefined>} options */
export function flags(options) {
  return Object.entries(options).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, String(value)]))
}
