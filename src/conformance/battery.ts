/** @file The conformance battery: what every PEFT method must do, tried on small models. It names no method. */
import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { packBatch, padBatch } from '../data/index.ts'
import { compile } from '../models/function.ts'
import type { PreTrainedModel } from '../models/index.ts'
import { Conv1D, Embedding, Linear, type Module, type Parameter, ParameterVector } from '../nn/index.ts'
import {
  type AnyPeftConfig,
  getPeftConfig,
  getPeftMethod,
  getPeftModel,
  getPeftModelStateDict,
  type PeftMethod,
  PeftModel,
} from '../peft/index.ts'
import { floats, type TensorData, tensorData } from '../runtime/index.ts'
import { AdamW, type Optimizer, prepareAdapters, SGD, type StepFunction, valueAndGrad } from '../training/index.ts'
import { Random } from '../util/random.ts'
import { SUBJECTS, type Subject } from './subjects.ts'

/** How a check ended. */
export interface Finding {
  check: string
  subject: string
  /** What was wrong; undefined when the method passed. */
  failure?: string
}

/** What all findings of a method say. */
export interface ConformanceReport {
  peftType: string
  findings: readonly Finding[]
  /** The models that the method cannot work on, with its own words. */
  refused: Readonly<Record<string, string>>
}

/** Differences that rounding explains, relative to the largest value of the reference. */
const ROUNDING = 2e-5

class ConformanceError extends Error {}

function demand(condition: boolean, message: string): asserts condition {
  if (!condition) throw new ConformanceError(message)
}

/**
 * Tries a registered method on small models of every kind: what it must leave alone, whether its gradients are right,
 * whether its files come back, and whether it can do what it declares.
 *
 * @example
 * registerPeftMethod(myMethod)
 * const { findings } = await checkConformance('MY_METHOD')
 * console.log(findings.filter(({ failure }) => failure))
 */
export async function checkConformance(
  peftType: string,
  subjects: readonly Subject[] = SUBJECTS,
): Promise<ConformanceReport> {
  const method = getPeftMethod(peftType)
  const findings: Finding[] = []
  const refused: Record<string, string> = {}
  for (const subject of subjects) {
    const reason = refusal(method, subject)
    if (reason === undefined) findings.push(...(await tryOn(method, subject)))
    else refused[subject.name] = reason
  }
  const all = subjects.map(({ name }) => name).join(', ')
  findings.push(
    finding(
      'works on some model',
      all,
      Object.keys(refused).length < subjects.length ? undefined : 'it refuses every model',
    ),
  )
  return { peftType, findings, refused }
}

const finding = (check: string, subject: string, failure?: string): Finding =>
  failure === undefined ? { check, subject } : { check, subject, failure }

/** Why the method does not work on a subject, in its own words; undefined when it does. */
export function refusal(method: PeftMethod, subject: Subject): string | undefined {
  try {
    getPeftModel(subject.create(), exampleFor(method, subject))
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

/** The method's own example configuration, with the subject's targets where it has some. */
export function exampleFor(method: PeftMethod, subject: Subject, options: Record<string, unknown> = {}): AnyPeftConfig {
  const targets = subject.targets && method.wrap ? { targetModules: subject.targets } : {}
  return method.about.example({ ...targets, ...options }) as AnyPeftConfig
}

type Batch = Readonly<Record<string, TensorData>>

/** One method on one model, with what is compiled once and used by many checks. */
class Trial {
  readonly method: PeftMethod
  readonly subject: Subject
  readonly base: Module
  readonly peft: PeftModel
  readonly #disposables: AsyncDisposable[] = []
  #output: ((batch: Batch) => Promise<Float32Array>) | undefined
  #step: StepFunction | undefined

  constructor(method: PeftMethod, subject: Subject) {
    this.method = method
    this.subject = subject
    this.base = subject.create()
    this.peft = getPeftModel(this.base, exampleFor(method, subject))
  }

  /** Lets the method look at data, where it wants to. */
  async prepare(peft: PeftModel = this.peft): Promise<void> {
    await prepareAdapters(peft, this.subject.batches, {
      loss: (model, inputs) => this.subject.loss(model, inputs),
    })
  }

  /** What a model computes from the first batch, compiled for this call. */
  async outputOf(model: Module, batch: Batch = this.subject.batches[0]): Promise<Float32Array> {
    await using run = await compile(model, (m, inputs) => ({ y: this.subject.output(m, inputs) }))
    return floats((await run(this.withoutLabels(batch))).y).slice()
  }

  /** What the adapted model computes now; compiled once. */
  async output(batch: Batch = this.subject.batches[0]): Promise<Float32Array> {
    if (!this.#output) {
      const run = await compile(this.peft as Module, (m, inputs) => ({ y: this.subject.output(m, inputs) }))
      this.#disposables.push(run)
      this.#output = async data => floats((await run(this.withoutLabels(data))).y).slice()
    }
    return this.#output(batch)
  }

  withoutLabels(batch: Batch): Batch {
    const { labels: _, ...others } = batch
    return others
  }

  /** The loss and its gradients; compiled once. */
  async step(batch: Batch = this.subject.batches[0]) {
    if (!this.#step) {
      this.#step = await valueAndGrad(this.peft as Module, (m, inputs) => this.subject.loss(m, inputs), {
        training: false,
      })
      this.#disposables.push(this.#step)
    }
    return this.#step(batch)
  }

  trained(peft: PeftModel = this.peft): [string, Parameter][] {
    return [...peft.namedParameters()].filter(([, parameter]) => parameter.requiresGrad)
  }

  /** Moves everything that trains a little, so that nothing is zero or the identity. */
  async perturb(peft: PeftModel = this.peft, seed = 'perturbation'): Promise<void> {
    for (const [name, parameter] of this.trained(peft)) {
      const random = Random.forName(`${seed}:${name}`, 0)
      const values = (await parameter.load()).slice()
      for (let i = 0; i < values.length; i++) values[i] += 0.1 * random.normal()
      parameter.data = values
    }
  }

  async dispose(): Promise<void> {
    for (const disposable of this.#disposables) await disposable[Symbol.asyncDispose]()
  }
}

/** The largest absolute difference, and the largest absolute value of the second. */
function compare(got: Float32Array, expected: Float32Array): { difference: number; scale: number } {
  let difference = got.length === expected.length ? 0 : Number.POSITIVE_INFINITY
  let scale = 0
  for (let i = 0; i < expected.length; i++) {
    const d = Math.abs(got[i] - expected[i])
    if (!(d <= difference)) difference = Number.isNaN(d) ? Number.POSITIVE_INFINITY : d
    scale = Math.max(scale, Math.abs(expected[i]))
  }
  return { difference, scale }
}

function demandEqual(got: Float32Array, expected: Float32Array, what: string, tolerance = ROUNDING): void {
  const { difference, scale } = compare(got, expected)
  demand(difference <= tolerance * Math.max(scale, 1), `${what}: the largest difference is ${difference}`)
}

const same = (a: Float32Array, b: Float32Array) => Buffer.from(bytesOf(a)).equals(Buffer.from(bytesOf(b)))
const bytesOf = (values: Float32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength)

async function snapshot(parameters: Iterable<readonly [string, Parameter]>): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>()
  for (const [name, parameter] of parameters) values.set(name, (await parameter.read()).slice())
  return values
}

type Check = [name: string, run: (trial: Trial) => Promise<void>]

/** The checks in their order: later ones find the adapter as earlier ones left it. */
const CHECKS: readonly Check[] = [
  ['refuses options that do not exist', refusesUnknownOptions],
  ['comes back from its own JSON, with keys it does not know', configurationReturns],
  ['trains as many values as its closed form says', closedForm],
  ['changes nothing at first, if it says so', noOpAtInit],
  ['draws the same values from the same seed', deterministic],
  ['has the gradients that finite differences give', gradientsAreRight],
  ['computes what the base computes while disabled', disabledIsBase],
  ['leaves everything frozen as it was, bit for bit', frozenStays],
  ['learns', learns],
  ['is saved, loaded and saved again byte for byte', filesReturn],
  ['merges into a plain model that computes the same, if it says so', merges],
  ['unmerges to exactly what was there', unmerges],
  ['lives beside a second adapter', twoAdapters],
  ['computes rows of one batch with different adapters, if it says so', mixedRows],
  ['computes texts that share rows as it computes them apart, if it keeps them apart', sharedRows],
  ['adds up, if it says so', weightedSum],
  ['becomes LoRA, if it says so', convertsToLora],
  ['leaves the base’s file on disk as it was', diskStays],
]

async function tryOn(method: PeftMethod, subject: Subject): Promise<Finding[]> {
  const trial = new Trial(method, subject)
  const findings: Finding[] = []
  try {
    for (const [name, run] of CHECKS) {
      try {
        await run(trial)
        findings.push(finding(name, subject.name))
      } catch (error) {
        const message = error instanceof ConformanceError ? error.message : String((error as Error).stack ?? error)
        findings.push(finding(name, subject.name, message))
      }
    }
  } finally {
    await trial.dispose()
  }
  return findings
}

async function refusesUnknownOptions({ method, subject }: Trial): Promise<void> {
  let message = ''
  try {
    exampleFor(method, subject, { noSuchOption: 1 })
  } catch (error) {
    message = (error as Error).message
  }
  demand(message.includes('noSuchOption'), 'an option that does not exist was taken without an error that names it')
}

async function configurationReturns({ peft }: Trial): Promise<void> {
  const json = peft.configOf('default').toJSON()
  const back = getPeftConfig({ ...json, a_key_of_the_future: [1, { two: 2 }] })
  demand(
    JSON.stringify({ ...back.toJSON(), a_key_of_the_future: undefined }) === JSON.stringify({ ...json }),
    `the options changed: ${JSON.stringify(json)} became ${JSON.stringify(back.toJSON())}`,
  )
  demand(
    JSON.stringify(back.toJSON().a_key_of_the_future) === '[1,{"two":2}]',
    'a key of a newer version was not written back',
  )
}

async function closedForm({ method, peft, base }: Trial): Promise<void> {
  const adapter = peft.adapter('default')
  const modules = new Map(adapter.targets.map(path => [path, base.getSubmodule(path)]))
  const expected = method.about.count(adapter.config, modules, adapter.model)
  const own = [...peft.namedParameters()].filter(
    ([name, parameter]) => parameter.requiresGrad && !name.includes('modules_to_save') && name.includes('default'),
  )
  const count = own.reduce((total, [, parameter]) => total + parameter.size, 0)
  demand(count === expected, `it trains ${count} values, its closed form says ${expected}`)
  demand(count > 0, 'it trains nothing')
}

async function noOpAtInit(trial: Trial): Promise<void> {
  await trial.prepare()
  if (!trial.method.can.noOpAtInit) return
  demandEqual(await trial.output(), await trial.outputOf(trial.base), 'the new adapter changes the outputs')
}

async function deterministic(trial: Trial): Promise<void> {
  const { base, subject, method } = trial
  const again = getPeftModel(base, exampleFor(method, subject))
  await trial.prepare(again)
  const own = await snapshot(getPeftModelStateDict(trial.peft))
  for (const [key, values] of await snapshot(getPeftModelStateDict(again))) {
    demand(same(values, own.get(key)!), `"${key}" has other values from the same seed`)
  }
}

async function gradientsAreRight(trial: Trial): Promise<void> {
  await trial.perturb()
  const { value, grads } = await trial.step()
  const vector = grads.parameters
  const gradient = grads.data.slice()
  demand(gradient.every(Number.isFinite), 'the gradient is not finite')
  const norm = Math.sqrt(gradient.reduce((sum, g) => sum + g * g, 0))
  demand(norm > 0, 'the gradient is zero')
  const at = vector.data.slice()
  // Along the gradient itself, and along two directions that mix it with chance.
  for (const direction of [0, 1, 2]) {
    const random = new Random(direction)
    const raw = Float64Array.from(
      gradient,
      g => g / norm + (direction ? (0.5 * random.normal()) / Math.sqrt(gradient.length) : 0),
    )
    const length = Math.sqrt(raw.reduce((sum, x) => sum + x * x, 0))
    const slope = gradient.reduce((sum, g, i) => sum + (g * raw[i]) / length, 0)
    const errors: number[] = []
    for (const step of [1e-1, 3e-2, 1e-2, 3e-3, 3e-4]) {
      const values: number[] = []
      for (const sign of [1, -1]) {
        vector.data.set(at.map((x, i) => x + (sign * step * raw[i]) / length))
        values.push((await trial.step()).value)
      }
      errors.push(Math.abs((values[0] - values[1]) / (2 * step) - slope) / Math.abs(slope))
    }
    vector.data.set(at)
    demand(
      Math.min(...errors) < 0.01,
      `along direction ${direction} the gradient promises a slope of ${slope}, finite differences differ by ${errors.map(e => `${(100 * e).toFixed(2)} %`)}`,
    )
  }
  demand(Number.isFinite(value), 'the loss is not finite')
}

async function disabledIsBase(trial: Trial): Promise<void> {
  const off = await trial.peft.disableAdapter(() => trial.outputOf(trial.peft))
  demand(same(off, await trial.outputOf(trial.base)), 'with the adapter off the outputs differ from the base’s')
}

async function train(trial: Trial, optimizer: Optimizer, steps: number): Promise<number[]> {
  const losses: number[] = []
  for (const hook of optimizer.hooks) hook.beforeTraining?.({ totalSteps: steps })
  for (let i = 0; i < steps; i++) {
    const { value, grads } = await trial.step()
    optimizer.step(grads)
    losses.push(value)
  }
  return losses
}

async function frozenStays(trial: Trial): Promise<void> {
  const { peft, base } = trial
  const isFrozen = ([, parameter]: [string, Parameter]) => !parameter.requiresGrad
  const frozen = await snapshot([...peft.namedParameters()].filter(isFrozen))
  const original = await snapshot(base.namedParameters())
  const vector = (await trial.step()).grads.parameters
  await train(trial, new AdamW(vector, { lr: 0.01, weightDecay: 0.1 }), 4)
  await train(trial, new SGD(vector, { lr: 0.01, momentum: 0.9, weightDecay: 0.1 }), 3)
  const parameters = new Map(peft.namedParameters())
  for (const [name, before] of frozen) {
    demand(same(await parameters.get(name)!.read(), before), `"${name}" was frozen and changed`)
  }
  for (const [name, parameter] of base.namedParameters()) {
    demand(same(await parameter.read(), original.get(name)!), `"${name}" of the base model changed`)
  }
}

async function learns(trial: Trial): Promise<void> {
  const vector = (await trial.step()).grads.parameters
  const rate = Math.max(trial.method.about.recommended.learningRate, 0.01)
  const losses = await train(trial, new AdamW(vector, { lr: rate, weightDecay: 0 }), 25)
  const best = Math.min(...losses)
  demand(best < losses[0] - 1e-4, `25 steps brought the loss from ${losses[0]} to ${best} at best`)
}

/** The bytes of all files in a folder. */
async function filesIn(folder: string): Promise<Record<string, string>> {
  const names = (await readdir(folder, { recursive: true, withFileTypes: true })).filter(entry => entry.isFile())
  const hashes: Record<string, string> = {}
  for (const { name, parentPath } of names) {
    const path = join(parentPath, name)
    hashes[path.slice(folder.length)] = createHash('sha256')
      .update(await readFile(path))
      .digest('hex')
  }
  return hashes
}

async function inFolder<T>(action: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'peft-conformance-'))
  try {
    return await action(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function filesReturn(trial: Trial): Promise<void> {
  await inFolder(async folder => {
    const [first, second] = [join(folder, 'first'), join(folder, 'second')]
    await trial.peft.savePretrained(first)
    const warnings: string[] = []
    const back = await PeftModel.fromPretrained(trial.base, first, { onWarning: text => warnings.push(text) })
    demand(warnings.length === 0, `loading its own file warned: ${warnings.join('; ')}`)
    demandEqual(await trial.outputOf(back), await trial.output(), 'the loaded adapter computes something else', 1e-6)
    await back.savePretrained(second)
    const [a, b] = [await filesIn(first), await filesIn(second)]
    // The card tells how many parameters train, of which a loaded adapter has none.
    delete a['/README.md']
    delete b['/README.md']
    demand(JSON.stringify(a) === JSON.stringify(b), `the files differ: ${JSON.stringify(a)} and ${JSON.stringify(b)}`)
    demand(
      [...back.namedParameters()].every(([, parameter]) => !parameter.requiresGrad),
      'an adapter that was loaded to be used can be trained',
    )
    const further = await PeftModel.fromPretrained(trial.base, first, { isTrainable: true })
    const names = (peft: PeftModel) => trial.trained(peft).map(([name]) => name)
    demand(
      JSON.stringify(names(further)) === JSON.stringify(names(trial.peft)),
      `loaded to be trained further it trains ${names(further)}, before ${names(trial.peft)}`,
    )
  })
}

async function merges(trial: Trial): Promise<void> {
  const { method, peft, base } = trial
  if (!method.can.merge) {
    let refused = ''
    await peft.mergeAndUnload().catch(error => (refused = error.message))
    demand(refused !== '', 'it says that it cannot be merged, and mergeAndUnload did not refuse')
    return
  }
  const merged = await peft.mergeAndUnload()
  demand(merged.constructor === base.constructor, 'the merged model is of another class than the base')
  const names = (module: Module) => JSON.stringify([...module.namedParameters()].map(([name]) => name))
  demand(names(merged) === names(base), 'the merged model has other parameters than the base')
  demandEqual(await trial.outputOf(merged), await trial.output(), 'the merged model computes something else', 1e-4)
}

async function unmerges(trial: Trial): Promise<void> {
  const { method, peft } = trial
  if (!method.can.merge) return
  const before = await snapshot(peft.namedParameters())
  const expected = await trial.output()
  await peft.mergeAdapter()
  try {
    demandEqual(await trial.outputOf(peft), expected, 'merged in place it computes something else', 1e-4)
  } finally {
    await peft.unmergeAdapter()
  }
  for (const [name, parameter] of peft.namedParameters()) {
    demand(same(await parameter.read(), before.get(name)!), `"${name}" is not what it was before merging`)
  }
  demand(same(await trial.outputOf(peft), expected), 'after unmerging it computes something else')
}

async function twoAdapters(trial: Trial): Promise<void> {
  const { method, subject, peft } = trial
  const first = await trial.output()
  peft.addAdapter('second', exampleFor(method, subject), { seed: 2 })
  peft.setAdapter('second')
  await trial.prepare()
  await trial.perturb(peft, 'second')
  const trains = trial.trained().filter(([name]) => !name.includes('.second'))
  demand(
    trains.every(([name]) => !name.split('.').includes('default')),
    `with another adapter active ${trains.map(([name]) => name)} still trains`,
  )
  const second = await trial.outputOf(peft)
  demand(!same(first, second), 'two adapters with different values compute the same')
  peft.setAdapter('default')
  demandEqual(await trial.outputOf(peft), first, 'switched back it computes something else', 1e-6)
  if (method.can.several) {
    peft.setAdapter(['default', 'second'])
    const both = await trial.outputOf(peft)
    demand(both.every(Number.isFinite), 'two adapters at once give NaN')
    peft.setAdapter('default')
  }
}

async function mixedRows(trial: Trial): Promise<void> {
  const { method, peft, subject, base } = trial
  const isOwn = subject.targets !== undefined
  // A module of one's own takes a tensor, which has no place for the numbers of the adapters.
  if (isOwn) return
  const names = ['default', '__base__', 'second', 'default']
  const rows = async () => {
    await using run = await compile(peft as Module, (m, inputs) => ({ y: subject.output(m, inputs) }))
    const indices = names.map(name => (name === '__base__' ? 0 : peft.adapterNames().indexOf(name) + 1))
    const batch = { ...trial.withoutLabels(subject.batches[0]), adapter_indices: tensorData('int64', indices) }
    return floats((await run(batch)).y).slice()
  }
  if (!method.can.mixedBatch) {
    let refused = ''
    await rows().catch(error => (refused = error.message))
    demand(refused !== '', 'it says that rows cannot differ, and nothing refused them')
    return
  }
  const mixed = await rows()
  const alone: Record<string, Float32Array> = { default: await trial.output(), __base__: await trial.outputOf(base) }
  peft.setAdapter('second')
  alone.second = await trial.outputOf(peft)
  peft.setAdapter('default')
  const width = mixed.length / names.length
  for (const [row, name] of names.entries()) {
    const part = (values: Float32Array) => values.subarray(row * width, (row + 1) * width)
    demandEqual(part(mixed), part(alone[name]), `row ${row}, of ${name}, differs from the adapter’s own run`)
  }
}

/** Texts of which the second and the third have room in one row. */
const TEXTS = [7, 3, 4].map((length, i) => {
  const inputIds = Array.from({ length }, (_, at) => 1 + ((at * 11 + i * 17) % 40))
  return { inputIds, labels: inputIds }
})

async function sharedRows({ subject, base, peft }: Trial): Promise<void> {
  const { segment_ids } = (base as unknown as Partial<PreTrainedModel>).inputSpecs?.() ?? {}
  if (!segment_ids || !peft.keepsTokensApart()) return
  const lossOf = async (batch: Batch) => {
    await using run = await compile(peft as Module, (m, inputs) => ({ y: subject.loss(m, inputs) }))
    return floats((await run(batch)).y).slice()
  }
  const [together, apart] = [packBatch(TEXTS, { padTokenId: 0 }), padBatch(TEXTS, { padTokenId: 0 })]
  demand(together.input_ids.dims[0] === 2, 'the battery’s own texts do not share rows')
  demandEqual(await lossOf({ ...together }), await lossOf({ ...apart }), 'texts that share rows have another loss')
}

async function weightedSum(trial: Trial): Promise<void> {
  const { method, peft } = trial
  if (!method.can.weightedSum) {
    let refused = ''
    await peft
      .addWeightedAdapter(['default', 'second'], [0.5, 0.5], 'sum')
      .catch((error: Error) => (refused = error.message))
    demand(refused !== '', 'it says that it cannot be added up, and addWeightedAdapter did not refuse')
    return
  }
  await peft.addWeightedAdapter(['default', 'second'], [0.6, 0.4], 'sum', { combinationType: 'linear' })
  peft.setAdapter('sum')
  const sum = await trial.outputOf(peft)
  demand(sum.every(Number.isFinite), 'the sum computes NaN')
  await peft.addWeightedAdapter(['default'], [1], 'itself', { combinationType: 'linear' })
  peft.setAdapter('itself')
  demandEqual(await trial.outputOf(peft), await trial.output(), 'the sum of one adapter is not that adapter', 1e-4)
  peft.setAdapter('default')
  peft.deleteAdapter('sum')
  peft.deleteAdapter('itself')
}

async function convertsToLora(trial: Trial): Promise<void> {
  const { method, peft, base } = trial
  if (!method.can.convertToLora) return
  const modules = peft.adapter('default').targets.map(path => base.getSubmodule(path))
  // LoRA's own conversion works on dense layers and embeddings.
  if (!modules.every(module => [Linear, Conv1D, Embedding].some(kind => module instanceof kind))) return
  const { convertToLora } = await import('../peft/index.ts')
  const converted = await convertToLora(peft, { adapterName: 'default', rank: 1 })
  demandEqual(
    await trial.outputOf(converted),
    await trial.output(),
    'the LoRA of full rank computes something else',
    1e-3,
  )
}

async function diskStays(trial: Trial): Promise<void> {
  const { subject, method } = trial
  const created = subject.create() as Module & { savePretrained?(folder: string): Promise<void> }
  if (!created.savePretrained) return
  await inFolder(async folder => {
    await created.savePretrained!(folder)
    const before = await filesIn(folder)
    const model = await (
      created.constructor as unknown as { fromPretrained(folder: string): Promise<Module> }
    ).fromPretrained(folder)
    const peft = getPeftModel(model, exampleFor(method, subject))
    await trial.prepare(peft)
    await using step = await valueAndGrad(peft as Module, (m, inputs) => subject.loss(m, inputs), { training: true })
    const parameters = await ParameterVector.load(trial.trained(peft))
    const { grads } = await step(subject.batches[0])
    const optimizer = new AdamW(parameters, { lr: 0.01 })
    optimizer.beforeTraining({ totalSteps: 1 })
    optimizer.step(grads)
    const after = await filesIn(folder)
    demand(JSON.stringify(before) === JSON.stringify(after), 'a file of the base model changed')
  })
}
