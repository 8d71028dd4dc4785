/**
 * @file `npm run demo`: a small model learns something new with LoRA, and forgets nothing.
 *
 * The base in `assets/base` answers questions about a small closed world, and has never seen an order. The demo teaches
 * it to turn an order into a record, in an adapter of its own beside the base, and then checks what it promised.
 */
import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  Dataset,
  getPeftModel,
  LoraConfig,
  releaseGeneration,
  TaskType,
  Trainer,
} from 'peft-ts'
import { generateOrders } from '../../scripts/world/skill.ts'
import { generateWorld } from '../../scripts/world/world.ts'
import { askAll, exactMatch, THREADS } from './answers.ts'
import { bold, dim, green, percent, red, say, showAnswers, showProgress, title } from './screen.ts'

const SEED = 0
const BASE = folder('assets/base')
const ADAPTER = folder('out/demo-adapter')
const WEIGHTS = join(BASE, 'model.safetensors')

/** What the demo promises of orders that it has not seen. */
const PROMISED = 0.95
const STEPS = 500
/** Old examples that are mixed into the training, so that the adapter learns the new skill beside the old ones. */
const OLD_EXAMPLES = 200
/** Questions of all old skills, evenly, which show what is kept of them. */
const OLD_QUESTIONS = 200

const started = performance.now()

// The data. Orders to learn and orders to be tested on are disjoint; the old questions were kept from the base's training.
const world = generateWorld({ seed: SEED })
const orders = generateOrders({ seed: SEED, trainSize: 600, testSize: 200 })
const oldQuestions = world.heldOut.slice(0, OLD_QUESTIONS)
const lesson = [...orders.train, ...world.train.slice(0, OLD_EXAMPLES)]

// The base, as any model folder or hub id would be opened.
const tokenizer = await AutoTokenizer.fromPretrained(BASE)
const base = await AutoModelForCausalLM.fromPretrained(BASE)
const hashBefore = await sha256(WEIGHTS)

title('1. A small model that knows a small world')
say(`  ${BASE}: a Llama of ${count(base.numParameters())} parameters, pretrained by this library from nothing.`)
say(
  `  Of what it has learnt it is asked ${OLD_QUESTIONS} new questions, and ${orders.test.length} orders, which it has never met:\n`,
)
const before = {
  orders: await askAll(base, tokenizer, orders.test),
  old: await askAll(base, tokenizer, oldQuestions),
}
for (const [i, { prompt }] of oldQuestions.slice(0, 3).entries()) say(`  ${prompt} ${dim(before.old[i].text.trim())}`)
for (const [i, { prompt }] of orders.test.slice(0, 2).entries()) say(`  ${prompt} ${dim(before.orders[i].text.trim())}`)

// The adapter: low-rank updates beside every linear layer. The base itself stays as it is.
title('2. A new skill in an adapter: an order becomes a record')
const peft = getPeftModel(
  base,
  new LoraConfig({ r: 16, loraAlpha: 32, targetModules: 'all-linear', taskType: TaskType.CAUSAL_LM }),
  { seed: SEED },
)
peft.printTrainableParameters(line => say(`  ${line}`))
say(
  `  Learning from ${orders.train.length} orders, mixed with ${OLD_EXAMPLES} old questions so that those are kept in mind.\n`,
)
const trainingStarted = performance.now()
const trainer = new Trainer({
  model: peft,
  tokenizer,
  trainDataset: new Dataset(lesson.map(({ prompt, completion }) => ({ prompt, completion }))),
  args: { maxSteps: STEPS, perDeviceTrainBatchSize: 16, learningRate: 5e-3, seed: SEED, threads: THREADS },
  callbacks: [
    { onStepEnd: report => showProgress({ ...report, seconds: (performance.now() - trainingStarted) / 1000 }) },
  ],
})
await trainer.train()
await peft.savePretrained(ADAPTER)

// The same questions again, with the adapter on and off. What was compiled for the base is dropped, so that "off" is
// computed anew from the weights as they are now.
await releaseGeneration(peft)
const on = {
  orders: await askAll(peft, tokenizer, orders.test),
  old: await askAll(peft, tokenizer, oldQuestions),
}
const off = await peft.disableAdapter(() => askAll(peft, tokenizer, oldQuestions))

title('3. Before and after, on orders that it has not seen')
for (const [i, { prompt, completion }] of orders.test.slice(0, 4).entries()) {
  showAnswers(prompt, before.orders[i].text, on.orders[i].text.trim(), on.orders[i].text === completion)
}

const learnt = exactMatch(orders.test, on.orders)
const oldBefore = exactMatch(oldQuestions, before.old)
const oldOn = exactMatch(oldQuestions, on.old)
const isIdentical = JSON.stringify(off) === JSON.stringify(before.old)
const isUntouched = (await sha256(WEIGHTS)) === hashBefore

title('4. The figures')
say(dim('                                        base   trained'))
row(`${orders.test.length} unseen orders`, exactMatch(orders.test, before.orders), learnt)
row(
  `${OLD_QUESTIONS} old questions, adapter off`,
  oldBefore,
  exactMatch(oldQuestions, off),
  isIdentical ? 'the same, token for token' : 'NOT the same',
)
row(`${OLD_QUESTIONS} old questions, adapter on`, oldBefore, oldOn, `${percent(oldOn / oldBefore).trim()} kept`)
say()
const adapterFile = join(ADAPTER, 'adapter_model.safetensors')
say(`  Adapter on disk   ${await kilobytes(adapterFile)}, beside a base of ${await kilobytes(WEIGHTS)}`)
say(`  The base's file   ${isUntouched ? 'unchanged' : 'CHANGED'} (sha256 ${hashBefore.slice(0, 16)}…)`)
say(`  Time and memory   ${((performance.now() - started) / 1000).toFixed(1)} s, at most ${peakMegabytes()} MB`)
say(`  Saved to          ${ADAPTER}`)
say('\n  Give it an order of your own:\n')
say(
  bold(
    `    npx tsx src/cli/main.ts generate --model ${BASE} --adapter ${ADAPTER} --prompt "Send two red lamps to Ada."`,
  ),
)
say()

const broken = [
  learnt < PROMISED && `fewer than ${percent(PROMISED).trim()} of the unseen orders are right`,
  !isIdentical && 'with the adapter off, the answers are not those of the base',
  !isUntouched && "the base's file has changed",
].filter(problem => problem !== false)
say(broken.length === 0 ? green('  Everything as promised.') : red(`  Not as promised: ${broken.join('; ')}.`))
process.exitCode = broken.length === 0 ? 0 : 1

/** A folder of the project, as it is reached from where the demo was started. */
function folder(path: string): string {
  return relative('.', fileURLToPath(new URL(`../../${path}`, import.meta.url))) || '.'
}

function row(name: string, baseShare: number, trainedShare: number, remark = ''): void {
  say(`  ${name.padEnd(34)}${percent(baseShare)}  ${bold(percent(trainedShare))}   ${remark}`)
}

function count(n: number): string {
  return n.toLocaleString('en-US')
}

async function sha256(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex')
}

async function kilobytes(path: string): Promise<string> {
  return `${count(Math.round((await stat(path)).size / 1000))} kB`
}

function peakMegabytes(): string {
  return count(Math.round((process.resourceUsage().maxRSS * 1024) / 1e6))
}
