/** @file The embedded base knows its world and no orders; the examples run. */
import { execFile } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { AutoModelForCausalLM, AutoTokenizer, releaseGeneration } from 'peft-ts'
import { describe, expect, it } from 'vitest'
import { askAll, exactMatch, markAnswers } from '../examples/demo/answers.ts'
import { generateOrders } from '../scripts/world/skill.ts'
import { generateWorld } from '../scripts/world/world.ts'
import { temporaryFolder } from './temporary.ts'

const root = resolve(import.meta.dirname, '..')
const BASE = join(root, 'assets/base')

/** What an example prints, run as its first line says. */
async function run(example: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', example, ...args], { cwd: root })
  return stdout
}

/** The numbers behind `loss`, in order. */
function losses(output: string): number[] {
  return [...output.matchAll(/loss (\d+\.\d+)/g)].map(([, loss]) => Number(loss))
}

describe('the embedded base', () => {
  it('answers questions that were kept from its training, and cannot do orders', async () => {
    const model = await AutoModelForCausalLM.fromPretrained(BASE)
    const tokenizer = await AutoTokenizer.fromPretrained(BASE)
    const questions = generateWorld({ trainSize: 1000 }).heldOut.slice(0, 60)
    const orders = generateOrders({ trainSize: 1, testSize: 20 }).test
    const answers = await askAll(model, tokenizer, [...questions, ...orders])
    await releaseGeneration({ getBaseModel: () => model })
    expect(exactMatch(questions, answers)).toBeGreaterThanOrEqual(0.85)
    expect(exactMatch(orders, answers.slice(questions.length))).toBe(0)
  })
})

describe('answers', () => {
  it('are right only when every letter is', () => {
    const questions = ['red', 'blue', 'green'].map(colour => ({ prompt: 'Which?', completion: ` ${colour}` }))
    const answers = [' red', ' blue.', 'green'].map(text => ({ tokens: [], text }))
    expect(markAnswers(questions, answers)).toEqual([true, false, false])
    expect(exactMatch(questions, answers)).toBeCloseTo(1 / 3)
  })
})

describe('the examples', () => {
  it('train a module of their own in a loop of their own', async () => {
    const trained = losses(await run('examples/own-loop.ts'))
    expect(trained.at(-1)).toBeLessThan(0.1)
  })

  it('fine-tune, save the adapter and generate with it', async () => {
    const output = await temporaryFolder()
    const printed = await run('examples/finetune.ts', '40', output)
    const trained = losses(printed)
    expect(trained.at(-1)).toBeLessThan(trained[0])
    expect(printed).toMatch(/trainable params: [\d,]+ \|\| all params: [\d,]+ \|\| trainable%: [\d.]+/)
    expect(await readdir(output)).toEqual(
      expect.arrayContaining(['README.md', 'adapter_config.json', 'adapter_model.safetensors']),
    )
  })
})
