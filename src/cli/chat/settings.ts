/** @file What `/set` changes: the options of a generation, checked when they are set. */
import { expectedOf } from '../../generation/option-checks.ts'
import type { GenerateOptions } from '../../models/generator.ts'
import { didYouMean } from '../../util/nearest.ts'

/** The options that can be set while a chat runs. */
const OPTIONS = [
  'maxNewTokens',
  'minNewTokens',
  'doSample',
  'temperature',
  'topK',
  'topP',
  'minP',
  'typicalP',
  'repetitionPenalty',
  'presencePenalty',
  'frequencyPenalty',
  'noRepeatNgramSize',
  'stopStrings',
  'seed',
] as const satisfies readonly (keyof GenerateOptions)[]

/** What only matters when tokens are drawn: setting one of these begins it. */
const DRAWING: readonly ChatOption[] = ['temperature', 'topK', 'topP', 'minP', 'typicalP']

/** One of the options. */
export type ChatOption = (typeof OPTIONS)[number]

/** The options that were set. */
export type ChatSettings = Partial<Pick<GenerateOptions, ChatOption>>

const camel = (name: string) => name.trim().replace(/[-_]([a-z])/g, (_, letter: string) => letter.toUpperCase())
const dashed = (name: string) => name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)

/**
 * Reads `temperature=0.7`; a name may be spelled with dashes, underscores or capitals. Nothing behind `=` takes the
 * option back.
 *
 * @returns the settings with the change
 * @throws for an option that does not exist, and a value that it cannot have
 */
export function changeSetting(settings: ChatSettings, assignment: string): ChatSettings {
  const at = assignment.indexOf('=')
  if (at < 1)
    throw new Error(`/set takes an option and its value, got "${assignment}"; for example /set temperature=0.7`)
  const name = camel(assignment.slice(0, at)) as ChatOption
  if (!OPTIONS.includes(name)) {
    const known = OPTIONS.map(dashed)
    throw new Error(
      `/set has no option "${dashed(name)}".${didYouMean(dashed(name), known)} It has ${known.join(', ')}.`,
    )
  }
  const text = assignment.slice(at + 1).trim()
  if (text === '') {
    const { [name]: _, ...rest } = settings
    return rest
  }
  const value = name === 'stopStrings' ? textOf(text) : parseJson(text)
  const expected = expectedOf(name, value)
  if (expected) throw new Error(`${dashed(name)} is ${text}, expected ${expected}`)
  return { ...settings, ...(DRAWING.includes(name) && { doSample: true }), [name]: value }
}

/** The settings in one line. */
export function showSettings(settings: ChatSettings): string {
  const entries = Object.entries(settings).filter(([, value]) => value !== undefined)
  return entries.map(([name, value]) => `${dashed(name)}=${JSON.stringify(value)}`).join(' ')
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function textOf(text: string): unknown {
  const value = parseJson(text)
  return typeof value === 'string' || Array.isArray(value) ? value : text
}
