/** @file Command: writes the world's data files, the tokenizer and the model configuration into a folder. */
import { realpathSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command, InvalidArgumentError } from 'commander'
import { writeFileAtomic } from '../../src/util/files.ts'
import { CONTEXT, generationConfig, modelConfig, VOCAB_SIZE } from './config.ts'
import { generateOrders } from './skill.ts'
import { buildTokenizer, specialTokensMap, tokenizerConfig } from './tokenizer.ts'
import { generateWorld } from './world.ts'

export interface WorldFilesOptions {
  seed?: number
  trainSize?: number
  heldOutSize?: number
}

/**
 * Everything the recipe needs, by file name. The merges are learnt from the pretraining text alone, so the
 * vocabulary holds no token that pretraining never meets except unused bytes.
 */
export function worldFiles(options: WorldFilesOptions = {}): Map<string, string> {
  const world = generateWorld(options)
  const orders = generateOrders({ seed: options.seed })
  const tokenizer = buildTokenizer(
    world.train.map(({ prompt, completion }) => prompt + completion),
    VOCAB_SIZE,
  )
  const vocabSize = Object.keys(tokenizer.model.vocab).length
  return new Map([
    ['train.jsonl', jsonLines(world.train)],
    ['heldout.jsonl', jsonLines(world.heldOut)],
    ['skill-train.jsonl', jsonLines(orders.train)],
    ['skill-test.jsonl', jsonLines(orders.test)],
    ['tokenizer.json', json(tokenizer)],
    ['tokenizer_config.json', json(tokenizerConfig(CONTEXT))],
    ['special_tokens_map.json', json(specialTokensMap())],
    ['config.json', json(modelConfig(vocabSize))],
    ['generation_config.json', json(generationConfig())],
  ])
}

function jsonLines(rows: readonly object[]): string {
  return rows.map(row => `${JSON.stringify(row)}\n`).join('')
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}

function integer(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError(`Got "${text}", expected a whole number such as 0 or 32000.`)
  return Number(text)
}

async function main(): Promise<void> {
  const options = new Command('write')
    .description("Write the world's data files, tokenizer and model configuration.")
    .requiredOption('--out <dir>', 'the folder to write into')
    .option('--seed <n>', 'seed of the samples and of the split', integer, 0)
    .option('--train-size <n>', 'number of pretraining examples', integer, 32_000)
    .option('--held-out-size <n>', 'number of held-out examples', integer, 600)
    .parse()
    .opts<{ out: string; seed: number; trainSize: number; heldOutSize: number }>()
  for (const [name, content] of worldFiles(options)) {
    await writeFileAtomic(join(options.out, name), content)
    process.stdout.write(`${join(options.out, name)}  ${Buffer.byteLength(content)} bytes\n`)
  }
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) await main()
