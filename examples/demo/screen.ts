/** @file What the demo shows, on a terminal or in a pipe. */
import { createColors } from 'picocolors'

const isTerminal = Boolean(process.stdout.isTTY)
const usesColor = isTerminal && !process.env.NO_COLOR && process.env.TERM !== 'dumb'

/** Colours where the terminal shows them. */
export const { bold, cyan, dim, green, red } = createColors(usesColor)

const BAR_WIDTH = 28
const CLEAR_LINE = '\r\x1b[2K'

/** Prints a line. */
export function say(line = ''): void {
  process.stdout.write(`${line}\n`)
}

/** Prints the title of a part of the demo. */
export function title(text: string): void {
  say(`\n${bold(text)}\n`)
}

/** Shows how far the training is: one line that changes on a terminal, a line for every fifth of it in a pipe. */
export function showProgress({ step, maxSteps, loss, seconds }: ProgressReport): void {
  const text = `step ${String(step).padStart(3)}/${maxSteps}   loss ${loss.toFixed(3)}   ${seconds.toFixed(1)} s`
  if (isTerminal) {
    const done = Math.round((BAR_WIDTH * step) / maxSteps)
    const bar = cyan('━'.repeat(done)) + dim('━'.repeat(BAR_WIDTH - done))
    process.stdout.write(`${CLEAR_LINE}  ${bar}  ${text}${step === maxSteps ? '\n' : ''}`)
  } else if (step % Math.ceil(maxSteps / 5) === 0) say(`  ${text}`)
}

/** Where a training stands. */
export interface ProgressReport {
  step: number
  maxSteps: number
  loss: number
  /** Since the training began. */
  seconds: number
}

/** Prints an answer before the training beside the one after it, below their question. */
export function showAnswers(question: string, before: string, after: string, isRight: boolean): void {
  const sign = isRight ? green('✓') : red('✗')
  say(`  ${bold(question)}`)
  say(`    ${dim(cut(before, 18).padEnd(18))} ${cyan('→')} ${after} ${sign}`)
}

/** `text` without the space it begins with, and not longer than `width`. */
function cut(text: string, width: number): string {
  const trimmed = text.trim()
  return trimmed.length > width ? `${trimmed.slice(0, width - 1)}…` : trimmed
}

/** A share as a percentage, eight characters wide. */
export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`.padStart(8)
}
