/** @file LoRA's layers: a low-rank update beside a dense layer or an embedding (arXiv 2106.09685). */
import {
  add,
  dropout,
  gather,
  linear,
  matmul,
  mul,
  type Operand,
  type Tensor,
  transpose,
} from '../../../graph/index.ts'
import {
  Conv1D,
  type Embedding,
  type Initializer,
  kaimingUniformInit,
  Linear,
  type Module,
  ModuleDict,
  normalInit,
  Parameter,
  ParameterDict,
  uniformInit,
  zerosInit,
} from '../../../nn/index.ts'
import type { Random } from '../../../util/random.ts'
import type { WrapContext } from '../../method.ts'
import { patternKey } from '../../pattern.ts'
import { TunerLayer } from '../../tuner-layer.ts'
import type { LoraConfig } from './config.ts'

/** What an adapter needs beside its matrices. */
interface LoraSettings {
  rank: number
  scaling: number
  dropout: number
}

/** The rank, scale and dropout of the adapter on the module at `path`. */
export function loraSettings(config: LoraConfig, path: string): LoraSettings {
  const rankKey = patternKey(Object.keys(config.rankPattern), path, 'rankPattern')
  const alphaKey = patternKey(Object.keys(config.alphaPattern), path, 'alphaPattern')
  const rank = rankKey === undefined ? config.r : config.rankPattern[rankKey]
  const alpha = alphaKey === undefined ? config.loraAlpha : config.alphaPattern[alphaKey]
  return { rank, scaling: alpha / (config.useRslora ? Math.sqrt(rank) : rank), dropout: config.loraDropout }
}

/** What dense layers and embeddings under LoRA share: a settings table, and one adapter after another. */
abstract class LoraLayer<M extends Module> extends TunerLayer<M> {
  readonly settings: Record<string, LoraSettings> = {}

  override adapterNames(): string[] {
    return Object.keys(this.settings)
  }

  /** Adds an adapter with its first values. */
  addAdapter({ adapterName, config, path, random }: WrapContext<LoraConfig>): void {
    const settings = loraSettings(config, path)
    this.settings[adapterName] = settings
    this.createMatrices(adapterName, settings.rank, config, random)
  }

  protected abstract createMatrices(name: string, rank: number, config: LoraConfig, random: Random): void
  /** The update of the weight by one adapter, in the weight's own layout. */
  protected abstract delta(name: string): Tensor

  override mergedParameters(adapters: readonly string[]): Record<string, Tensor> {
    const weight = (this.original as unknown as { weight: Parameter }).weight
    const deltas = adapters.filter(name => name in this.settings).map(name => this.delta(name))
    return deltas.length ? { weight: deltas.reduce((sum, delta) => add(sum, delta), add(weight, 0)) } : {}
  }
}

const filled = (shape: readonly number[], init: Initializer, random: Random) =>
  Parameter.from(init(random, shape), shape)

/** A matrix without bias, as PEFT stores `lora_A` and `lora_B`. */
function denseMatrix(inFeatures: number, outFeatures: number, init: Initializer, random: Random): Linear {
  const layer = new Linear(inFeatures, outFeatures, { bias: false })
  layer.weight = filled([outFeatures, inFeatures], init, random)
  return layer
}

/** LoRA on a {@link Linear} or {@link Conv1D}: `W x + s B A x`. */
export class LoraLinear extends LoraLayer<Linear | Conv1D> {
  /** `[r, in]` for each adapter. */
  lora_A = new ModuleDict<Linear>()
  /** `[out, r]` for each adapter. */
  lora_B = new ModuleDict<Linear>()

  protected override createMatrices(name: string, rank: number, config: LoraConfig, random: Random): void {
    const { inFeatures, outFeatures } = this.original
    const { initLoraWeights: init, loraBias } = config
    this.lora_A.set(
      name,
      denseMatrix(inFeatures, rank, init === 'gaussian' ? normalInit(1 / rank) : kaimingUniformInit(), random),
    )
    const b = denseMatrix(rank, outFeatures, init === false ? kaimingUniformInit() : zerosInit, random)
    if (loraBias) b.bias = filled([outFeatures], init === false ? uniformInit(1 / Math.sqrt(rank)) : zerosInit, random)
    this.lora_B.set(name, b)
  }

  override deleteAdapter(name: string): void {
    delete this.settings[name]
    this.lora_A.delete(name)
    this.lora_B.delete(name)
  }

  protected override adapt(adapters: readonly string[], x: Tensor): Tensor {
    let result = this.base_layer.forward(x)
    for (const name of adapters) {
      const { scaling, dropout: p } = this.settings[name]
      // The small vector in the middle is scaled, not the large one at the end.
      const inner = mul(this.lora_A.get(name)!.forward(dropout(x, p)), scaling)
      const { weight, bias } = this.lora_B.get(name)!
      result = add(result, linear(inner, weight, bias && mul(bias, scaling)))
    }
    return result
  }

  override mergedParameters(adapters: readonly string[]): Record<string, Tensor> {
    const merged = super.mergedParameters(adapters)
    const biases = adapters.flatMap(name => {
      const bias = this.lora_B.get(name)?.bias
      return bias ? [mul(bias, this.settings[name].scaling)] : []
    })
    if (biases.length === 0) return merged
    const { bias } = this.original
    if (!bias) throw new Error('An adapter with loraBias cannot be merged into a layer without a bias')
    return { ...merged, bias: biases.reduce((sum, part) => add(sum, part), add(bias, 0)) }
  }

  protected override delta(name: string): Tensor {
    const { scaling } = this.settings[name]
    const [a, b] = [this.lora_A.get(name)!.weight, this.lora_B.get(name)!.weight]
    const update = matmul(b, a, { alpha: scaling })
    return this.original instanceof Conv1D ? transpose(update) : update
  }
}

/** LoRA on an {@link Embedding}: `E[x] + s (B A)ᵀ[x]`. */
export class LoraEmbedding extends LoraLayer<Embedding> {
  /** `[r, rows]` for each adapter. */
  lora_embedding_A = new ParameterDict()
  /** `[width, r]` for each adapter. */
  lora_embedding_B = new ParameterDict()

  protected override createMatrices(name: string, rank: number, config: LoraConfig, random: Random): void {
    const { numEmbeddings, embeddingDim } = this.original
    const { initLoraWeights: init, loraBias } = config
    if (loraBias)
      throw new Error('LoraConfig: loraBias works on dense layers only; leave the embedding out of targetModules')
    this.lora_embedding_A.set(name, filled([rank, numEmbeddings], init === false ? normalInit(1) : zerosInit, random))
    this.lora_embedding_B.set(name, filled([embeddingDim, rank], normalInit(1), random))
  }

  override deleteAdapter(name: string): void {
    delete this.settings[name]
    this.lora_embedding_A.delete(name)
    this.lora_embedding_B.delete(name)
  }

  protected override adapt(adapters: readonly string[], ids: Tensor): Tensor {
    let result: Tensor = this.base_layer.forward(ids)
    for (const name of adapters) {
      const rows = gather(transpose(this.lora_embedding_A.get(name) as Operand), ids)
      result = add(result, linear(mul(rows, this.settings[name].scaling), this.lora_embedding_B.get(name)!))
    }
    return result
  }

  protected override delta(name: string): Tensor {
    const [a, b] = [this.lora_embedding_A.get(name)!, this.lora_embedding_B.get(name)!]
    return matmul(a, b, { transA: true, transB: true, alpha: this.settings[name].scaling })
  }
}
