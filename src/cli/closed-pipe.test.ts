/** @file A training whose output nobody reads any more. */
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { startPeft } from './testing/killing.ts'
import { reviews, saveTinyBert } from './testing/peft.ts'

it('is paused, and leaves what it needs to go on', async () => {
  const folder = await temporaryFolder({ 'train.tsv': reviews(30) })
  const model = await saveTinyBert(folder)
  const out = join(folder, 'out')
  const call = ['train', '--model', model, '--data', join(folder, 'train.tsv'), '--task', 'seq_cls', '--output', out]
  const steps = ['--max-steps', '100000', '--logging-steps', '1', '--threads', '1', '--json']
  const { child, ended } = startPeft([...call, ...steps])
  child.stdout!.on('data', data => {
    if (String(data).includes('"loss"')) child.stdout!.destroy()
  })
  const { code, stderr } = await ended
  expect([code, stderr]).toEqual([1, ''])
  const checkpoint = (await readdir(out)).find(name => name.startsWith('checkpoint-'))
  expect(existsSync(join(out, `${checkpoint}`, 'trainable.safetensors'))).toBe(true)
}, 30_000)
