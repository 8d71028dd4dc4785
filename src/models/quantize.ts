/** @file Which weights of a model are quantised while it is loaded, and how. Node only. */
import { join } from 'node:path'
import { Conv1D, Embedding, Linear, type Module, type Parameter } from '../nn/index.ts'
import {
  explainMisfit,
  fittingBlockSize,
  HALF_DTYPES,
  isHalf,
  type Packing,
  type QuantizationConfig,
  QuantizedFile,
  QuantizedTensor,
  type QuantizeName,
  type QuantizeOptions,
  quantizationOf,
  quantizedEntry,
  sizesOf,
  type WeightQuantization,
} from '../quantization/index.ts'
import { didYouMean } from '../util/nearest.ts'
import {
  type Dtype,
  defaultCacheDir,
  fingerprint,
  float32Entries,
  type JoinedTensor,
  type TensorReader,
} from '../weights/index.ts'
import type { PreTrainedModel } from './pretrained-model.ts'

/** Options of `fromPretrained` that quantise. */
export interface QuantizingOptions {
  /** Quantises the weights while they are loaded, as Transformers does it: a `BitsAndBytesConfig`. */
  quantizationConfig?: QuantizationConfig
  /** The same in short: `int8`, `int8-channel`, `int4`, `nf4`, `fp4`, `bfloat16`, `float16`, or one of these with options. */
  quantize?: QuantizeName | QuantizeOptions
}

/** What the options ask for. Throws where they ask twice. */
export function requestedQuantization({
  quantize,
  quantizationConfig,
}: QuantizingOptions): QuantizationConfig | undefined {
  if (quantize !== undefined && quantizationConfig) {
    throw new Error('Both quantize and quantizationConfig were given; give one of them')
  }
  return quantize === undefined ? quantizationConfig : quantizationOf(quantize)
}

/** What is to be quantised. */
export interface QuantizationPlan {
  readonly packings: ReadonlyMap<Parameter, Packing>
  /** Names of weights that were to be quantised and do not fit any block. */
  readonly misfits: readonly string[]
}

/**
 * Chooses the weights: dense layers of the base model, and the embedding of tokens and the output layer where the
 * configuration says so. Heads of classifiers stay as they are. Only shapes are read.
 *
 * @throws where a module that is to be skipped does not exist
 */
export function planQuantization(model: PreTrainedModel, config: QuantizationConfig): QuantizationPlan {
  checkSkipped(model, config.skipModules)
  const ends = new Set<Module | undefined>([model.getInputEmbeddings(), model.getOutputEmbeddings()])
  const owners = new Map<Parameter, { path: string; module: Module }[]>()
  for (const [path, module] of model.namedModules()) {
    for (const [, parameter] of module.ownParameters()) {
      owners.set(parameter, [...(owners.get(parameter) ?? []), { path, module }])
    }
  }
  const packings = new Map<Parameter, Packing>()
  const misfits: string[] = []
  for (const [parameter, places] of owners) {
    const isWeight = places.every(({ module }) => isQuantizable(module) && module.weight === parameter)
    if (!isWeight || places.some(({ path }) => isSkipped(path, config.skipModules))) continue
    const isEnd = places.some(({ module }) => ends.has(module))
    const inBase = places.every(({ path, module }) => isInBase(model, path) && !(module instanceof Embedding))
    const chosen = isEnd ? config.embeddings : inBase ? config.linear : undefined
    if (!chosen) continue
    const transposed = places.some(({ module }) => module instanceof Conv1D)
    const packing = packingOf(parameter.shape as [number, number], transposed, chosen)
    if (packing) packings.set(parameter, packing)
    else misfits.push(`${places[0].path}.weight`)
  }
  return { packings, misfits }
}

function isQuantizable(module: Module): module is Linear | Conv1D | Embedding {
  return module instanceof Linear || module instanceof Conv1D || module instanceof Embedding
}

function isInBase(model: PreTrainedModel, path: string): boolean {
  return model.baseModel === model || path.startsWith(`${model.baseModelPrefix}.`)
}

function isSkipped(path: string, skipped: readonly string[]): boolean {
  return skipped.some(name => `.${path}.`.includes(`.${name}.`))
}

function checkSkipped(model: PreTrainedModel, skipped: readonly string[]): void {
  const paths = [...model.namedModules()].map(([path]) => path)
  for (const name of skipped) {
    if (paths.some(path => isSkipped(path, [name]))) continue
    const names = [...new Set(paths.map(path => path.slice(path.lastIndexOf('.') + 1)))]
    throw new Error(`The module "${name}" is not to be quantised, and there is none.${didYouMean(name, names)}`)
  }
}

function packingOf(
  shape: readonly [number, number],
  transposed: boolean,
  { scheme, blockSize: wanted, symmetric, perRow, doubleQuant, turned }: WeightQuantization,
): Packing | undefined {
  if (isHalf(scheme)) {
    const [rows, columns] = shape
    return { layout: { scheme, rows, columns, blockSize: columns, symmetric, transposed: false } }
  }
  const [rows, columns] = transposed ? [shape[1], shape[0]] : shape
  const base = { scheme, rows, columns, symmetric, transposed }
  const blockSize = fittingBlockSize(base, wanted)
  if (blockSize !== undefined) return { layout: { ...base, blockSize, ...(turned && { turned }) }, perRow, doubleQuant }
  // Rows of an odd number of blocks of 16 values have no form in 4 bits.
  const wide = { ...base, scheme: 'int8', symmetric: true, blockSize: 16 } as const
  return scheme === 'int4' && explainMisfit(wide) === undefined ? { layout: wide } : undefined
}

/** A parameter and the tensor that it takes. */
export interface Assignment {
  parameter: Parameter
  key: string
}

/** Whether a tensor of a checkpoint is as a packing would have it. */
function isPackedAlready({ dtype }: { dtype: Dtype }, { layout: { scheme } }: Packing): boolean {
  return isHalf(scheme) && HALF_DTYPES[scheme] === dtype
}

/**
 * Gives parameters their values, those of the plan in packed form. What is packed or converted to float32 lies in one
 * file in the cache, which is written at the first start; what the checkpoint holds as it is wanted is read from there.
 */
export async function giveQuantized(
  assignments: readonly Assignment[],
  checkpoint: TensorReader,
  plan: QuantizationPlan,
  options: { cacheDir?: string; joined: ReadonlyMap<string, JoinedTensor> },
): Promise<void> {
  const { cacheDir = defaultCacheDir(), joined } = options
  const planned = assignments.flatMap(({ parameter, key }) => {
    const packing = joined.has(key) ? undefined : plan.packings.get(parameter)
    return packing ? [{ parameter, key, packing }] : []
  })
  const isPlanned = new Set(planned.map(({ key }) => key))
  const asTheyAre = planned.filter(({ key, packing }) => isPackedAlready(checkpoint.info(key), packing))
  const packed = planned.filter(entry => !asTheyAre.includes(entry))
  const rest = assignments.filter(({ key }) => !isPlanned.has(key))
  const copied = rest.filter(({ key }) => joined.has(key) || checkpoint.info(key).dtype !== 'F32')
  const settings = [packed.map(({ key, packing }) => [key, packing]), copied.map(({ key }) => joined.get(key) ?? key)]
  const path = join(cacheDir, 'quantized', `${await fingerprint(checkpoint, settings)}.safetensors`)
  const file =
    (await QuantizedFile.open(path)) ??
    (await QuantizedFile.write(
      path,
      packed.map(({ key, packing }) => quantizedEntry(checkpoint, key, packing)),
      float32Entries(
        checkpoint,
        copied.map(({ key }) => joined.get(key) ?? key),
      ),
    ))
  for (const { parameter, key, packing } of packed) parameter.quantized = file.tensor(key, packing.layout.transposed)
  for (const { parameter, key, packing } of asTheyAre)
    parameter.quantized = new QuantizedTensor(key, packing.layout, checkpoint.source(key))
  const isCopied = new Set(copied.map(({ key }) => key))
  for (const { parameter, key } of rest) {
    parameter.source = isCopied.has(key) ? file.source(key) : checkpoint.source(key)
  }
}

/** The bytes that a model's values would take with a plan: packed ones as packed, others in float32. */
export function plannedBytes(model: PreTrainedModel, { packings }: QuantizationPlan): number {
  let bytes = 0
  for (const [, parameter] of model.namedTensors()) {
    const packing = packings.get(parameter)
    bytes += packing ? sizesOf(packing.layout).totalBytes : 4 * parameter.size
  }
  return bytes
}
