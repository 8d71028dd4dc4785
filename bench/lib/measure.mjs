/** @file What the measuring programs share: their options, memory, and a training with all of its figures. */
import { readFileSync } from 'node:fs'
import { readdir, rm, stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { CACHE } from './paths.mjs'

/**
 * Reads `--name value` for each of `defaults`; a default that is a number makes the option one.
 *
 * @template {Record<string, string | number>} T
 * @param {T} defaults
 * @returns {{ [K in keyof T]: T[K] extends number ? number : string }}
 */
export function readOptions(defaults) {
  const names = Object.keys(defaults)
  const { values } = parseArgs({ options: Object.fromEntries(names.map(name => [name, { type: 'string' }])) })
  const read = names.map(name => {
    const given = values[name]
    const value = given === undefined || typeof defaults[name] === 'string' ? (given ?? defaults[name]) : Number(given)
    if (Number.isNaN(value)) throw new Error(`--${name} is ${given}, expected a number`)
    return [name, value]
  })
  return Object.fromEntries(read)
}

/** The peak of this process' resident memory in MB (2^20 bytes), as the peer's scripts count it. */
export function peakMemory() {
  const kilobytes =
    process.platform === 'linux'
      ? Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1])
      : process.resourceUsage().maxRSS
  return Math.floor(kilobytes / 1024)
}

/**
 * What this process holds now, in MB: memory of its own, and pages mapped from files, which the system can take back.
 * Nothing where the system does not say.
 */
export function residentMemory() {
  if (process.platform !== 'linux') return {}
  const status = readFileSync('/proc/self/status', 'utf8')
  const megabytes = (/** @type {string} */ name) =>
    Math.floor(Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) / 1024)
  return { rss_anon_mb: megabytes('RssAnon'), rss_file_mb: megabytes('RssFile') }
}

/** How many parameters train, and how many there are. @param {import('peft-ts').Module} model */
export function countParameters(model) {
  const all = model.parameters()
  const size = (/** @type {typeof all} */ list) => list.reduce((sum, parameter) => sum + parameter.size, 0)
  return { trainable: size(all.filter(parameter => parameter.requiresGrad)), all: size(all) }
}

/**
 * Trains, evaluates and saves, and gives what that cost. The peak of memory is that of training and evaluation.
 *
 * @param {import('peft-ts').Trainer} trainer
 * @param {string} name of the folder under the cache that the result is saved to
 */
export async function trainAndEvaluate(trainer, name) {
  const started = performance.now()
  const { globalStep, trainingLoss } = await trainer.train()
  const seconds = (performance.now() - started) / 1000
  const metrics = await trainer.evaluate()
  const peak_rss_mb = peakMemory()
  const folder = join(CACHE, 'saved', name)
  await rm(folder, { recursive: true, force: true })
  await trainer.saveModel(folder)
  return {
    steps: globalStep,
    training_loss: trainingLoss,
    seconds,
    peak_rss_mb,
    ...countParameters(trainer.model),
    file_mb: await weightsSize(folder),
    metrics,
  }
}

/** MB (2^20 bytes) of the weights in a folder. @param {string} folder */
async function weightsSize(folder) {
  const files = (await readdir(folder)).filter(name => extname(name) === '.safetensors')
  const sizes = await Promise.all(files.map(async name => (await stat(join(folder, name))).size))
  return sizes.reduce((a, b) => a + b, 0) / 2 ** 20
}
