/** @file Command: pretrains the embedded base from nothing, with this library alone, and writes it to a folder. */
import { availableParallelism, cpus } from 'node:os'
import { join } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import { AutoConfig, AutoModelForCausalLM, AutoTokenizer, Dataset, Trainer } from 'peft-ts'
import { askAll, exactMatch, markAnswers } from '../examples/demo/answers.ts'
import { writeFileAtomic } from '../src/util/files.ts'
import type { Example } from './world/task.ts'
import { generateWorld } from './world/world.ts'
import { worldFiles } from './world/write.ts'

/** What of the world's files belongs to the model; its data is drawn again whenever it is needed. */
const MODEL_FILES = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
]

/** Fixed, since the order in which threads add numbers is part of the result; more hardly help a model this small. */
const THREADS = 1

interface Options {
  out: string
  seed: number
  trainSize: number
  steps: number
  batchSize: number
  lr: number
}

async function main(): Promise<void> {
  const options = new Command('pretrain-base')
    .description('Pretrain the embedded base. The same options give the same bytes.')
    .option('--out <dir>', 'the folder to write into', 'assets/base')
    .option('--seed <n>', 'seed of the world, of the first values and of the order', integer, 0)
    .option('--train-size <n>', 'examples that are drawn; they repeat when the steps need more', integer, 32_000)
    .option('--steps <n>', 'optimizer steps', integer, 3000)
    .option('--batch-size <n>', 'examples a step', integer, 64)
    .option('--lr <x>', 'the highest learning rate', Number, 3e-3)
    .parse()
    .opts<Options>()
  const started = performance.now()
  const world = generateWorld({ seed: options.seed, trainSize: options.trainSize })
  const files = worldFiles({ seed: options.seed })
  for (const name of MODEL_FILES) await writeFileAtomic(join(options.out, name), files.get(name)!)

  const tokenizer = await AutoTokenizer.fromPretrained(options.out)
  const model = AutoModelForCausalLM.fromConfig(await AutoConfig.fromPretrained(options.out))
  model.initialize(options.seed)
  // Every parameter has requiresGrad from the start, so this is full training: there is no adapter.
  const trainer = new Trainer({
    model,
    tokenizer,
    trainDataset: new Dataset(world.train.map(({ prompt, completion }) => ({ prompt, completion }))),
    args: {
      maxSteps: options.steps,
      perDeviceTrainBatchSize: options.batchSize,
      learningRate: options.lr,
      warmupSteps: 100,
      lrSchedulerType: 'linear',
      adamBeta2: 0.98,
      weightDecay: 0.01,
      maxGradNorm: 1,
      loggingSteps: 200,
      seed: options.seed,
      threads: THREADS,
    },
    callbacks: [{ onLog: ({ step, loss }) => say(started, `step ${step}/${options.steps}  loss ${loss.toFixed(4)}`) }],
  })
  await trainer.train()
  await model.savePretrained(options.out)
  const seconds = (performance.now() - started) / 1000

  const answers = await askAll(model, tokenizer, world.heldOut)
  const right = markAnswers(world.heldOut, answers)
  const accuracy = exactMatch(world.heldOut, answers)
  const parameters = model.numParameters()
  const card = modelCard({ options, seconds, accuracy, parameters, bySkill: sharesBySkill(world.heldOut, right) })
  await writeFileAtomic(join(options.out, 'README.md'), card)
  say(started, `held-out: ${percent(accuracy)} of ${world.heldOut.length} answers right; written to ${options.out}`)
}

function sharesBySkill(examples: readonly Example[], right: readonly boolean[]): Map<string, [number, number]> {
  const shares = new Map<string, [number, number]>()
  for (const [i, { skill }] of examples.entries()) {
    const [hits, all] = shares.get(skill) ?? [0, 0]
    shares.set(skill, [hits + Number(right[i]), all + 1])
  }
  return shares
}

interface CardFacts {
  options: Options
  seconds: number
  accuracy: number
  parameters: number
  bySkill: ReadonlyMap<string, readonly [number, number]>
}

function modelCard({ options, seconds, accuracy, parameters, bySkill }: CardFacts): string {
  const { steps, batchSize, lr, seed, trainSize } = options
  const command = `npx tsx scripts/pretrain-base.ts --train-size ${trainSize} --steps ${steps} --batch-size ${batchSize} --lr ${lr} --seed ${seed}`
  const machine = `${cpus()[0]?.model ?? 'an unnamed processor'}, ${availableParallelism()} threads, Node ${process.version}`
  const rows = [...bySkill]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([skill, [hits, all]]) => `| ${skill} | ${all} | ${percent(hits / all)} |`)
  return `---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---

# The embedded base

A Llama of ${parameters.toLocaleString('en-US')} parameters that knows a small closed world: who lives where, what is larger,
what comes after Tuesday. \`npm run demo\` teaches it something that it does not know. Everything here was made by this
project: the text (\`scripts/world/\`), the tokenizer, and the training, with the library's own Trainer and every
parameter trained.

    ${command}

took ${seconds.toFixed(0)} s (${machine}). The same command writes the same weights on such a machine.

- Training: ${steps} steps of ${batchSize} examples out of ${trainSize}, AdamW (betas 0.9 and 0.98, weight decay 0.01), learning rate up to ${lr},
  100 steps of warm-up, then linearly to 0; gradients clipped to 1; loss on the answers only.
- A prompt is one sentence that ends in \`.\` or \`?\`, the answer follows it after a space and ends with \`<eos>\`.
- Held-out prompts answered exactly, greedily: **${percent(accuracy)}**.

| skill | held-out prompts | right |
| --- | ---: | ---: |
${rows.join('\n')}
`
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`
}

function say(started: number, text: string): void {
  process.stdout.write(`${((performance.now() - started) / 1000).toFixed(0).padStart(5)} s  ${text}\n`)
}

function integer(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError(`Got "${text}", expected a whole number such as 0 or 8000.`)
  return Number(text)
}

await main()
