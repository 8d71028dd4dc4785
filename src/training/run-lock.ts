/** @file One training at a time writes to a folder: a lock file that says who holds it. Node only. */
import { closeSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs'
import { rmdir } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { makeFolder } from '../util/files.ts'
import { OutputFolderInUseError } from './errors.ts'

/** The file's name. */
export const LOCK_FILE = '.lock'
const TAKEOVER_FILE = '.lock.takeover'

/** A file that is empty for longer than this was left by a process that ended while it made it, in milliseconds. */
const GRACE = 2000

/** Who holds a lock. */
interface Holder {
  pid: number
  host: string
  /** When the training began. */
  started: string
  /** When the process began, in clock ticks since the machine did: tells a process from a later one of the same number. */
  process_start: string | null
}

/** A lock on a folder. */
export class RunLock {
  readonly #folder: string
  readonly #madeFolder: boolean

  private constructor(folder: string, madeFolder: boolean) {
    this.#folder = folder
    this.#madeFolder = madeFolder
  }

  /**
   * Takes the lock of `folder`, which is made where it is missing. The lock of a process that has ended is taken over.
   *
   * @throws {OutputFolderInUseError} when another training holds it
   */
  static async acquire(folder: string): Promise<RunLock> {
    const made = await makeFolder(folder)
    // From here on nothing is awaited: between looking and taking there is as little time as can be.
    try {
      create(join(folder, LOCK_FILE))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      takeOver(folder)
    }
    return new RunLock(folder, made)
  }

  /** Throws {@link OutputFolderInUseError} when a process that is alive holds the lock of `folder`. */
  static refuseHeld(folder: string): void {
    const state = look(join(folder, LOCK_FILE))
    if (state.kind === 'held') throw inUse(folder, state.holder)
  }

  /** Lets others in. A folder that was made for the lock and is still empty goes too. */
  async release(): Promise<void> {
    rmSync(join(this.#folder, LOCK_FILE), { force: true })
    if (this.#madeFolder) await rmdir(this.#folder).catch(() => undefined)
  }
}

function create(path: string): void {
  const handle = openSync(path, 'wx')
  try {
    writeSync(handle, JSON.stringify(own()))
  } catch (error) {
    rmSync(path, { force: true })
    throw error
  } finally {
    closeSync(handle)
  }
}

function own(): Holder {
  const { pid } = process
  return { pid, host: hostname(), started: new Date().toISOString(), process_start: startOf(pid) ?? null }
}

/** Takes the lock of a process that has ended. Of several that try, the takeover's own lock lets one through. */
function takeOver(folder: string): void {
  const path = join(folder, LOCK_FILE)
  const takeover = join(folder, TAKEOVER_FILE)
  const before = look(path)
  if (before.kind === 'held') throw inUse(folder, before.holder)
  if (age(takeover) > GRACE) rmSync(takeover, { force: true })
  try {
    closeSync(openSync(takeover, 'wx'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw inUse(folder, undefined)
    throw error
  }
  try {
    const now = look(path)
    if (now.kind === 'held') throw inUse(folder, now.holder)
    rmSync(path, { force: true })
    create(path)
  } finally {
    rmSync(takeover, { force: true })
  }
}

type LockState = { kind: 'free' } | { kind: 'left' } | { kind: 'held'; holder: Holder | undefined }

/** Whether a lock is held, was left by a process that has ended, or is not there. */
function look(path: string): LockState {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { kind: 'free' }
    throw error
  }
  const holder = parse(text)
  if (!holder) return age(path) > GRACE ? { kind: 'left' } : { kind: 'held', holder: undefined }
  return isAlive(holder) ? { kind: 'held', holder } : { kind: 'left' }
}

function parse(text: string): Holder | undefined {
  try {
    const holder = JSON.parse(text) as Partial<Holder> | null
    return typeof holder?.pid === 'number' && typeof holder.host === 'string' ? (holder as Holder) : undefined
  } catch {
    return undefined
  }
}

function isAlive({ pid, host, process_start }: Holder): boolean {
  // Whether a process of another machine lives cannot be seen from here.
  if (host !== hostname()) return true
  try {
    process.kill(pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  const start = startOf(pid)
  return start === undefined || (start !== 'ended' && (process_start === null || start === process_start))
}

/**
 * When a process began, on Linux: ticks since the machine started, with the machine's start. 'ended' for one that has
 * ended and that its parent has not taken notice of; undefined where that cannot be known.
 */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name of the program, in brackets, may hold anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (fields[0] === 'Z' || fields[0] === 'X') return 'ended'
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ${fields[19]}`
  } catch {
    return undefined
  }
}

/** Milliseconds since a file was written; -1 where there is none. */
function age(path: string): number {
  try {
    return Date.now() - statSync(path).mtimeMs
  } catch {
    return -1
  }
}

function inUse(folder: string, holder: Holder | undefined): OutputFolderInUseError {
  const who = holder ? `process ${holder.pid} on ${holder.host}, since ${holder.started}` : 'a process that just began'
  const elsewhere =
    holder && holder.host !== hostname()
      ? ` It is another machine, so whether it still runs cannot be seen from here; if it does not, delete ${join(folder, LOCK_FILE)}.`
      : ''
  return new OutputFolderInUseError(
    `Another training writes to ${folder} (${who}). Wait until it ends, or name another outputDir.${elsewhere}`,
  )
}
