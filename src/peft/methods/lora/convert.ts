/** @file Adapters of other methods as LoRA: what they add to each weight, as the nearest product of two matrices. */
import { Conv1D, Embedding, Linear, type Module, type Parameter } from '../../../nn/index.ts'
import { type Matrix, matrix, type Svd, svd, svdLowRank, transposed } from '../../../util/linear-algebra/index.ts'
import { Random } from '../../../util/random.ts'
import { baseModules } from '../../adapted-tree.ts'
import { mergedValues } from '../../merge.ts'
import { refuseMerged } from '../../merging.ts'
import { PeftModel } from '../../model.ts'
import { ModulesToSaveWrapper } from '../../modules-to-save.ts'
import { TunerLayer } from '../../tuner-layer.ts'
import { LoraConfig } from './config.ts'
import { LoraLayer, LoraWeightLayer } from './layer.ts'
import { matricesOf } from './matrices.ts'

/** Options of {@link convertToLora}. */
export interface ConvertToLoraOptions {
  /**
   * From 2 on the rank of every layer. Up to 1 the share of the energy (the sum of squared singular values) that is
   * kept, which decides on the rank of each layer; 1 keeps everything (1).
   */
  rank?: number
  /** The adapter to convert (`default`). */
  adapterName?: string
}

/** Matrices up to this length of their smaller side are decomposed as a whole. */
const EXACT = 512
/** Beyond it by iteration: further vectors, and passes, that make the largest ones exact. */
const FURTHER = 10
const PASSES = 6

/** What an adapter does to one layer, as LoRA. */
interface Converted {
  /** `[r, in]` */
  a: Matrix
  /** `[out, r]`, scaled */
  b: Matrix
  /** `[out]` */
  bias: Float32Array | undefined
}

/**
 * A model with the same base and a LoRA adapter of the same name, which adds to each weight what the given adapter does,
 * or what is nearest to it of the given rank. LoRA itself, and everything of no higher rank, is converted exactly. The
 * scale of the new adapter is 1.
 *
 * @throws when the adapter does something else than changing the weights of dense layers and embeddings
 * @example
 * const lora = await convertToLora(peft, { rank: 16 })
 * await lora.savePretrained('as-lora')
 */
export async function convertToLora<M extends Module>(
  model: PeftModel<M>,
  { rank = 1, adapterName = 'default' }: ConvertToLoraOptions = {},
): Promise<PeftModel<M>> {
  const fail = (message: string): never => {
    throw new Error(`convertToLora: ${message}`)
  }
  if (!(rank > 0 && (rank <= 1 || Number.isInteger(rank)))) {
    fail(`rank must be a whole number from 2 on, or up to 1 the share of the energy to keep, got ${rank}`)
  }
  const { method, layers } = model.adapter(adapterName)
  const config = model.configOf(adapterName)
  if (!method.can.convertToLora) {
    fail(`${method.about.title} does something else than adding to weights, so "${adapterName}" cannot become LoRA`)
  }
  refuseMerged(model.mergedAdapters, 'It cannot be converted')
  const { bias } = config as { bias?: unknown }
  if (typeof bias === 'string' && bias !== 'none') {
    fail(`"${adapterName}" has trained biases of the base too (bias "${bias}"), which are no update of a weight`)
  }
  const standing = new Set<Module>(layers.values())
  for (const { path, module } of baseModules(model.model)) {
    for (let layer = module; layer instanceof TunerLayer; layer = layer.base_layer) {
      if (standing.has(layer) || !layer.adapterNames().includes(adapterName)) continue
      fail(`"${adapterName}" also changes "${path}", beside its target modules; LoRA could not hold that`)
    }
  }
  const converted = new Map<string, Converted>()
  for (const [path, layer] of layers) converted.set(path, await convertLayer(layer, path, adapterName, rank))
  const ranks = new Map([...converted].map(([path, { a }]) => [path, a.rows]))
  const r = rank > 1 ? rank : Math.max(...ranks.values())
  const others = Object.fromEntries([...ranks].filter(([, own]) => own !== r))
  const lora = new PeftModel(model.getBaseModel())
  lora.addAdapter(
    adapterName,
    new LoraConfig({
      r,
      loraAlpha: r,
      rankPattern: others,
      alphaPattern: others,
      targetModules: [...converted.keys()],
      modulesToSave: config.modulesToSave,
      loraBias: [...converted.values()].some(({ bias }) => bias !== undefined),
      taskType: config.taskType,
      baseModelNameOrPath: config.baseModelNameOrPath,
      inferenceMode: config.inferenceMode,
    }),
  )
  for (const [path, layer] of lora.adapter(adapterName).layers) {
    const { a, b, bias } = converted.get(path)!
    const own = matricesOf(layer, adapterName)!
    own.a.data = a.data
    own.b.data = b.data
    if (own.bias && bias) own.bias.data = bias
  }
  await copyModules(model.model, lora.model, adapterName)
  return lora
}

/**
 * Converts an adapter and writes the LoRA adapter into a folder; see {@link convertToLora}.
 */
export async function saveAsLora(model: PeftModel, folder: string, options: ConvertToLoraOptions = {}): Promise<void> {
  const { adapterName = 'default' } = options
  const lora = await convertToLora(model, options)
  const { writePeftAdapter } = await import('../../peft-format.ts')
  const state = lora.stateDict(adapterName)
  await writePeftAdapter(folder, { model: lora, config: lora.configOf(adapterName), state })
}

async function convertLayer(layer: TunerLayer, path: string, adapterName: string, rank: number): Promise<Converted> {
  const exact = await ownMatrices(layer, adapterName)
  if (exact && (rank === 1 || exact.a.rows === rank)) return exact
  const { original } = layer
  if (!(original instanceof Linear || original instanceof Conv1D || original instanceof Embedding)) {
    throw new Error(
      `convertToLora: "${path}" is a ${original.constructor.name}; only changes of dense layers and embeddings become LoRA`,
    )
  }
  const merged = await mergedValues(layer, [adapterName])
  const strange = Object.keys(merged).filter(name => name !== 'weight' && name !== 'bias')
  if (strange.length) throw new Error(`convertToLora: the adapter changes "${path}.${strange[0]}", which is no weight`)
  const slots = original as unknown as Record<string, Parameter>
  const [rows, columns] = original.weight.shape
  const weight = matrix(
    rows,
    columns,
    merged.weight ? await change(merged.weight, slots.weight) : new Float32Array(rows * columns),
  )
  // Of Conv1D and embeddings the weight lies the other way round.
  const update = original instanceof Linear ? weight : transposed(weight)
  return { ...decompose(update, rank, path), bias: merged.bias && (await change(merged.bias, slots.bias)) }
}

/** The matrices of an adapter that is LoRA already, with its scale in B. */
async function ownMatrices(layer: TunerLayer, adapterName: string): Promise<Converted | undefined> {
  const isPlain =
    layer instanceof LoraWeightLayer && !layer.settings[adapterName].useDora && !layer.beginning(adapterName)
  if (layer instanceof LoraLayer && !(layer instanceof LoraWeightLayer)) {
    throw new Error('convertToLora: the adapter works on parameters of several matrices (targetParameters)')
  }
  if (!isPlain) return undefined
  const { a, b, bias, rank, scaling } = matricesOf(layer, adapterName)!
  if (a.shape.length > 2) return undefined
  const scaled = (values: Float32Array) => values.map(value => value * scaling)
  return {
    a: matrix(rank, a.size / rank, (await a.read()).slice()),
    b: matrix(b.size / rank, rank, scaled(await b.read())),
    bias: bias && scaled(await bias.read()),
  }
}

async function change(merged: Float32Array, base: Parameter): Promise<Float32Array> {
  const values = await base.read()
  return merged.map((value, i) => value - values[i])
}

/** The nearest product of two matrices of a rank, or of the lowest rank that keeps a share of the energy. */
function decompose(update: Matrix, rank: number, path: string): { a: Matrix; b: Matrix } {
  const full = Math.min(update.rows, update.columns)
  const { u, s, vt } = singularVectors(update, rank, path)
  const kept = rank > 1 ? Math.min(rank, full) : energyRank(s, rank)
  const b = new Float32Array(update.rows * kept)
  for (let row = 0; row < update.rows; row++) {
    for (let k = 0; k < kept; k++) b[row * kept + k] = u.data[row * u.columns + k] * s[k]
  }
  return {
    a: matrix(kept, update.columns, vt.data.slice(0, kept * update.columns)),
    b: matrix(update.rows, kept, b),
  }
}

function singularVectors(update: Matrix, rank: number, path: string): Svd {
  const full = Math.min(update.rows, update.columns)
  const wanted = rank + FURTHER
  if (rank <= 1 || full <= EXACT || wanted >= full) return svd(update)
  return svdLowRank(update, wanted, PASSES, Random.forName(path, 0))
}

/** The lowest rank, at least 1, of which the singular values have a share of the energy of all. */
function energyRank(s: Float32Array, share: number): number {
  const total = s.reduce((sum, value) => sum + value * value, 0)
  // Values of rounding alone are no part of it.
  const noise = s.findIndex(value => value <= (s[0] ?? 0) * 1e-6)
  const limit = noise < 0 ? s.length : Math.max(noise, 1)
  let sum = 0
  for (let k = 0; k < limit; k++) {
    sum += s[k] * s[k]
    if (share < 1 && sum >= share * total) return k + 1
  }
  return limit
}

/** Gives an adapter the modules that another one of its name trained as a whole. */
async function copyModules(from: Module, to: Module, adapterName: string): Promise<void> {
  const sources = new Map([...baseModules(from)].map(({ path, module }) => [path, module]))
  const saved = (module: Module | undefined) =>
    module instanceof ModulesToSaveWrapper ? module.modules_to_save.get(adapterName)?.parameters() : undefined
  for (const { path, module } of baseModules(to)) {
    const [own, source] = [saved(module), saved(sources.get(path))]
    for (const [i, parameter] of own?.entries() ?? []) parameter.data = (await source![i].read()).slice()
  }
}
