/** @file LoRA on embeddings. */
import { add, linear, mul, type Operand, reshape, type Tensor, transpose } from '../../../graph/index.ts'
import { type Embedding, normalInit, type Parameter, ParameterDict, zerosInit } from '../../../nn/index.ts'
import { matrix, transposed } from '../../../util/linear-algebra/index.ts'
import type { WrapContext } from '../../method.ts'
import type { AdapterRows } from '../../tuner-layer.ts'
import type { LoraConfig } from './config.ts'
import { drawn, micaFactors } from './init/index.ts'
import { LoraWeightLayer } from './layer.ts'
import { embeddingRows } from './rows.ts'
import type { LoraSettings } from './settings.ts'

/** LoRA on an {@link Embedding}: `E[x] + s (B A)ᵀ[x]`. */
export class LoraEmbedding extends LoraWeightLayer<Embedding> {
  /** `[r, rows]` for each adapter. */
  lora_embedding_A = new ParameterDict()
  /** `[width, r]` for each adapter. */
  lora_embedding_B = new ParameterDict()

  protected override createMatrices(context: WrapContext<LoraConfig>, { rank, scaling }: LoraSettings): void {
    const { adapterName: name, config, random, path } = context
    const { numEmbeddings, embeddingDim, weight } = this.original
    const { initLoraWeights: init, loraBias } = config
    if (loraBias)
      throw new Error('LoraConfig: loraBias works on dense layers only; leave the embedding out of targetModules')
    if (init === 'loftq') {
      throw new Error(
        `LoraConfig: initLoraWeights "loftq" does not work on embeddings; leave "${path}" out of targetModules`,
      )
    }
    if (init === 'mica') {
      const { a, b } = micaFactors({
        inFeatures: numEmbeddings,
        outFeatures: embeddingDim,
        rank,
        scaling,
        random,
        path,
        weight: async () => transposed(matrix(numEmbeddings, embeddingDim, await weight.read())),
      })
      this.lora_embedding_A.set(name, a)
      this.lora_embedding_B.set(name, b)
      return
    }
    // The inits that factor a weight are for dense layers; beside them an embedding begins as usual, as in PEFT.
    this.lora_embedding_A.set(name, drawn([rank, numEmbeddings], init === false ? normalInit(1) : zerosInit, random))
    this.lora_embedding_B.set(name, drawn([embeddingDim, rank], normalInit(1), random))
  }

  override deleteAdapter(name: string): void {
    super.deleteAdapter(name)
    this.lora_embedding_A.delete(name)
    this.lora_embedding_B.delete(name)
  }

  protected override adapt(adapters: readonly string[], ids: Tensor): Tensor {
    let result = this.baseForward(adapters, ids)
    for (const name of adapters) {
      const { a, b } = this.matricesOf(name)
      // The embedding itself looks up, in a table as narrow as the rank: it may scale what it finds.
      const table = ids.graph.trace(() => transpose(a))
      const rows = ids.graph.rebind([[this.original.weight, table]], () => this.original.forward(ids))
      result = add(result, linear(mul(rows, this.scaleOf(name)), b))
      if (this.settings[name].useDora) result = mul(result, this.rescaling(name, adapters))
    }
    return result
  }

  protected override adaptRows(rows: AdapterRows, ids: Tensor): Tensor {
    const updates = this.rowUpdates(rows)
    if (!updates) return super.adaptRows(rows, ids) as Tensor
    const { numEmbeddings: inFeatures, embeddingDim: outFeatures } = this.original
    return embeddingRows(this.base_layer.forward(ids), ids, { rows, updates, inFeatures, outFeatures })
  }

  override matricesOf(name: string): { a: Parameter; b: Parameter } {
    return { a: this.lora_embedding_A.get(name)!, b: this.lora_embedding_B.get(name)! }
  }

  protected override get outputAxis(): number {
    return 1
  }

  protected override flattened(weight: Operand) {
    return { matrix: weight, isTransposed: true }
  }

  protected override inLayout(update: Tensor): Tensor {
    return transpose(update)
  }

  protected override overWeight(vector: Tensor): Tensor {
    return reshape(vector, [1, -1])
  }
}
