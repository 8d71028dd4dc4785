/** @file What a training is made of, in short: whether a checkpoint belongs to it. Node only. */
import { createHash, type Hash } from 'node:crypto'
import type { Parameter } from '../nn/index.ts'
import { PeftModel } from '../peft/index.ts'
import { defaultEngine, type Engine } from '../runtime/index.ts'
import { bytesPerElement, readSourceFloat32, type TensorSource } from '../weights/index.ts'
import { TrainingArguments, type TrainingOption } from './arguments.ts'
import type { Examples } from './examples.ts'
import type { TrainableModel } from './model.ts'

/** Options that change nothing in what is computed: where and how often is saved, where packed weights lie. */
const FREE: readonly TrainingOption[] = [
  // Whether activations are kept stands beside the options.
  'cacheActivations',
  'cacheActivationsMemory',
  'keepPacked',
  'outputDir',
  'overwriteOutputDir',
  'saveSteps',
  'saveStrategy',
  'saveTotalLimit',
]
/** Options that change rounding at most. */
const ROUNDING: readonly string[] = ['mode', 'threads', 'gradientCheckpointing', 'keptActivations']

/** What a checkpoint belongs to. */
export interface Fingerprint {
  /** The options that matter. */
  arguments: Record<string, unknown>
  /** Hashes of the examples. */
  train_data: string
  train_examples: number
  eval_data: string | null
  /** Hash of the names and shapes of what trains. */
  trainable: string
  /** Hash of what does not train: adapters' frozen values, and a few values of each weight of the base. */
  frozen: string
}

/** The parts of a training that its fingerprint is taken of. */
export interface FingerprintParts {
  args: TrainingArguments
  model: TrainableModel
  train: Examples<unknown>
  evaluation: Examples<unknown> | undefined
  engine?: Engine
  /** Whether steps read activations that were kept. */
  keepsActivations?: boolean
}

/** Values at either end of a weight of the base that are looked at: whole bases are too large to be read for this. */
const SAMPLE = 64

/** Takes the fingerprint. Data is read whole; of the base's weights a few values each. */
export async function fingerprintOf(parts: FingerprintParts): Promise<Fingerprint> {
  const { args, model, train, evaluation, keepsActivations } = parts
  const trainable = [...model.namedParameters()].filter(([, parameter]) => parameter.requiresGrad)
  return {
    arguments: {
      ...argumentsOf(args),
      ...(await chosenProducts(parts)),
      ...(keepsActivations && { keptActivations: true }),
    },
    train_data: hashData(train),
    train_examples: train.items.length,
    eval_data: evaluation ? hashData(evaluation) : null,
    trainable: digest(trainable.map(([name, { shape }]) => `${name} [${shape}]`).join('\n')),
    frozen: await hashFrozen(model),
  }
}

function argumentsOf(args: TrainingArguments): Record<string, unknown> {
  const entries = Object.entries(args).filter(([name]) => !FREE.includes(name as TrainingOption))
  return Object.fromEntries(entries.map(([name, value]) => [name, value ?? null]))
}

/** What measuring chose in place of `auto`, where anything depends on it. */
async function chosenProducts({ args, model, engine }: FingerprintParts): Promise<Record<string, unknown>> {
  const { quantizedProducts: wanted, threads } = args
  if (wanted !== 'auto' || !model.parameters().some(({ quantized }) => quantized?.turned)) return {}
  return { quantizedProducts: await (engine ?? (await defaultEngine())).resolveProducts(wanted, threads) }
}

/** What differs between two fingerprints, in words; `minor` is what only rounding depends on. */
export function differences(saved: Fingerprint, now: Fingerprint): { major: string[]; minor: string[] } {
  const [major, minor]: [string[], string[]] = [[], []]
  const defaults = argumentsOf(new TrainingArguments())
  for (const name of new Set([...Object.keys(now.arguments), ...Object.keys(saved.arguments)])) {
    // A checkpoint of an earlier version lacks the options that came later: they had no effect then.
    const [before, after] = [saved, now].map(({ arguments: own }) =>
      Object.hasOwn(own, name) ? own[name] : defaults[name],
    )
    if (JSON.stringify(before) === JSON.stringify(after)) continue
    const list = ROUNDING.includes(name) ? minor : major
    list.push(`${name} was ${shown(before)} and is ${shown(after)}`)
  }
  if (saved.train_examples !== now.train_examples) {
    major.push(`the training data had ${saved.train_examples} examples and has ${now.train_examples}`)
  } else if (saved.train_data !== now.train_data) major.push('the training data has other examples')
  if (saved.eval_data !== now.eval_data) major.push('the evaluation data is another')
  if (saved.trainable !== now.trainable) {
    major.push('other parameters train (another method, other options of it, or another base)')
  } else if (saved.frozen !== now.frozen) {
    major.push(
      "values that do not train differ (another base, another seed of the adapter's, or another order of adapters)",
    )
  }
  return { major, minor }
}

const shown = (value: unknown) => (value === undefined || value === null ? 'not given' : JSON.stringify(value))

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

function hashData({ items }: Examples<unknown>): string {
  const hash = createHash('sha256')
  for (const item of items) update(hash, item)
  return hash.digest('hex')
}

/** Adds any value: numbers bit by bit, keys of objects in sorted order. */
function update(hash: Hash, value: unknown): void {
  if (Array.isArray(value) && value.every(item => typeof item === 'number')) {
    hash.update(`numbers ${value.length} `).update(new Uint8Array(Float64Array.from(value).buffer))
  } else if (ArrayBuffer.isView(value)) {
    hash.update(`bytes ${value.byteLength} `).update(new Uint8Array(value.buffer, value.byteOffset, value.byteLength))
  } else if (Array.isArray(value)) {
    hash.update(`list ${value.length} `)
    for (const item of value) update(hash, item)
  } else if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
    hash.update(`object ${entries.length} `)
    for (const [key, item] of entries) {
      hash.update(`${JSON.stringify(key)} `)
      update(hash, item)
    }
  } else {
    const text = String(value)
    hash.update(`${typeof value} ${text.length} ${text} `)
  }
}

async function hashFrozen(model: TrainableModel): Promise<string> {
  const hash = createHash('sha256')
  const isPeft = model instanceof PeftModel
  // The base itself is looked at and not its copy in the tree, whose values may still be to be worked out.
  for (const [name, parameter] of (isPeft ? model.getBaseModel() : model).namedTensors()) {
    if (!isPeft && parameter.requiresGrad) continue
    hash.update(`${name} [${parameter.shape}] `)
    const sampled = await sample(parameter)
    if (sampled) hash.update(bytesOf(sampled))
  }
  if (!isPeft) return hash.digest('hex')
  for (const [name, parameter] of model.namedTensors()) {
    if (parameter.requiresGrad || !parameter.isSwitchable) continue
    hash.update(`${name} [${parameter.shape}] `).update(bytesOf(await parameter.read()))
  }
  return hash.digest('hex')
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) => new Uint8Array(buffer, byteOffset, byteLength)

/** The first and the last values of a parameter, wherever they lie; undefined where that is not known yet. */
async function sample(parameter: Parameter): Promise<Float32Array | undefined> {
  if (!parameter.hasValue || parameter.isPending) return undefined
  const { quantized } = parameter
  const sources = quantized ? [quantized.packed.source, quantized.scales.source] : [parameter.source]
  const sampled = await Promise.all(sources.map(endsOf))
  return sampled.some(found => found === undefined)
    ? undefined
    : Float32Array.from(sampled.flatMap(found => [...found!]))
}

async function endsOf(source: TensorSource): Promise<Float32Array | undefined> {
  const size = source.shape.reduce((a, b) => a * b, 1)
  const ends =
    size <= 2 * SAMPLE
      ? [[0, size]]
      : [
          [0, SAMPLE],
          [size - SAMPLE, size],
        ]
  const parts = await Promise.all(ends.map(([from, to]) => part(source, from, to)))
  return parts.some(found => found === undefined) ? undefined : Float32Array.from(parts.flatMap(found => [...found!]))
}

async function part(source: TensorSource, from: number, to: number): Promise<Float32Array | undefined> {
  const width = bytesPerElement(source.dtype)
  const [start, end] = [from * width, to * width]
  if (source.kind === 'memory') {
    return readSourceFloat32({ ...source, shape: [to - from], bytes: source.bytes.subarray(start, end) })
  }
  if (source.kind !== 'file') return undefined
  return readSourceFloat32({ ...source, shape: [to - from], offset: source.offset + start, byteLength: end - start })
}
