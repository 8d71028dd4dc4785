/** @file Tests of the lock of an output folder. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readdir, readFile, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { OutputFolderInUseError } from './errors.ts'
import { RunLock } from './run-lock.ts'
import { BagClassifier, bags } from './testing/models.ts'
import { Trainer, type TrainerOptions } from './trainer.ts'

const lockOf = async (holder: object) => {
  const folder = await temporaryFolder({ '.lock': JSON.stringify({ host: hostname(), started: 'then', ...holder }) })
  return { folder, acquire: () => RunLock.acquire(folder) }
}

describe('the lock of an output folder', () => {
  it('lets one in, and another after it', async () => {
    const folder = join(await temporaryFolder(), 'a/b')
    const first = await RunLock.acquire(folder)
    const holder = JSON.parse(await readFile(join(folder, '.lock'), 'utf8'))
    expect(holder).toMatchObject({ pid: process.pid, host: hostname() })
    await expect(RunLock.acquire(folder)).rejects.toThrow(OutputFolderInUseError)
    expect(() => RunLock.refuseHeld(folder)).toThrow(new RegExp(`process ${process.pid} on .*another outputDir`))
    await first.release()
    expect(existsSync(folder)).toBe(false)
    await (await RunLock.acquire(folder)).release()
  })

  it('lets exactly one of many in that come at the same time', async () => {
    const folder = await temporaryFolder()
    const tried = await Promise.allSettled(Array.from({ length: 20 }, () => RunLock.acquire(folder)))
    expect(tried.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  })

  it('leaves a folder that was there, and what is in it', async () => {
    const folder = await temporaryFolder({ a: '' })
    await (await RunLock.acquire(folder)).release()
    expect(await readdir(folder)).toEqual(['a'])
  })

  it('is taken over from a process that has ended', async () => {
    const { pid } = spawnSync(process.execPath, ['-e', ''])
    const { folder, acquire } = await lockOf({ pid, process_start: null })
    RunLock.refuseHeld(folder)
    const lock = await acquire()
    expect(JSON.parse(await readFile(join(folder, '.lock'), 'utf8')).pid).toBe(process.pid)
    await lock.release()
    expect(await readdir(folder)).toEqual([])
  })

  it.runIf(process.platform === 'linux')('is taken over where the number now belongs to another process', async () => {
    const { acquire } = await lockOf({ pid: process.pid, process_start: 'another boot 12345' })
    await (await acquire()).release()
  })

  it('is not taken over from a process on another machine, and the way out is told', async () => {
    const { acquire } = await lockOf({ pid: 1, host: 'elsewhere', process_start: null })
    await expect(acquire()).rejects.toThrow(/process 1 on elsewhere.*cannot be seen from here.*delete .*\.lock/)
  })

  it('that is not whole belongs to a process that just began, or to one that ended long ago', async () => {
    const folder = await temporaryFolder({ '.lock': '' })
    await expect(RunLock.acquire(folder)).rejects.toThrow(/a process that just began/)
    const past = new Date(Date.now() - 60_000)
    await utimes(join(folder, '.lock'), past, past)
    await writeFile(join(folder, '.lock.takeover'), '')
    await expect(RunLock.acquire(folder)).rejects.toThrow(/a process that just began/)
    await utimes(join(folder, '.lock.takeover'), past, past)
    await (await RunLock.acquire(folder)).release()
  })
})

describe('two trainings on one output folder', () => {
  it('are one: the second is refused before its first step, the first goes on', async () => {
    const outputDir = join(await temporaryFolder(), 'out')
    const make = (callbacks: TrainerOptions['callbacks']) =>
      new Trainer({
        model: new BagClassifier(),
        trainDataset: bags(16),
        callbacks,
        args: { outputDir, maxSteps: 2, threads: 1 },
      })
    let steps = 0
    const second = make([{ onStepEnd: () => void steps++ }])
    const refusals: unknown[] = []
    const tryAgain = async () => void refusals.push(await second.train().catch(error => error))
    await make([{ onStepEnd: tryAgain }]).train()
    expect(refusals).toEqual([expect.any(OutputFolderInUseError), expect.any(OutputFolderInUseError)])
    expect(steps).toBe(0)
    expect(await readdir(outputDir)).toEqual(['model.safetensors'])
  })
})
