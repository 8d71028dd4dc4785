/** @file LoRA on dense layers. */
import { add, dropout, linear, mul, type Operand, reshape, sub, type Tensor, transpose } from '../../../graph/index.ts'
import { Conv1D, Linear, ModuleDict, Parameter } from '../../../nn/index.ts'
import { matrix, transposed } from '../../../util/linear-algebra/index.ts'
import type { WrapContext } from '../../method.ts'
import type { AdapterRows } from '../../tuner-layer.ts'
import { initialBias, withMergedBias } from './bias.ts'
import type { LoraConfig } from './config.ts'
import { initialFactors } from './init/index.ts'
import { LoraWeightLayer } from './layer.ts'
import { linearRows } from './rows.ts'
import type { LoraSettings } from './settings.ts'

/** A matrix as a layer, as PEFT stores `lora_A` and `lora_B`. */
export function matrixLayer(weight: Parameter): Linear {
  const [outFeatures, inFeatures] = weight.shape
  const layer = new Linear(inFeatures, outFeatures, { bias: false })
  layer.weight = weight
  return layer
}

/** LoRA on a {@link Linear} or {@link Conv1D}: `W x + s B A x`. */
export class LoraLinear extends LoraWeightLayer<Linear | Conv1D> {
  /** `[r, in]` for each adapter. */
  lora_A = new ModuleDict<Linear>()
  /** `[out, r]` for each adapter. */
  lora_B = new ModuleDict<Linear>()

  protected override createMatrices(context: WrapContext<LoraConfig>, { rank, scaling }: LoraSettings): void {
    const { adapterName: name, config, random, path } = context
    const { inFeatures, outFeatures, weight } = this.original
    const isTransposed = this.original instanceof Conv1D
    const factors = initialFactors(config, {
      inFeatures,
      outFeatures,
      rank,
      scaling,
      random,
      path,
      weight: async () => {
        const [rows, columns] = weight.shape
        const stored = matrix(rows, columns, await weight.read())
        return isTransposed ? transposed(stored) : stored
      },
    })
    this.lora_A.set(name, matrixLayer(factors.a))
    const b = matrixLayer(factors.b)
    if (config.loraBias) b.bias = initialBias(outFeatures, rank, context)
    this.lora_B.set(name, b)
    const { replaced } = factors
    this.begin(name, { ...factors, replaced: isTransposed && replaced ? transposedParameter(replaced) : replaced })
  }

  override deleteAdapter(name: string): void {
    super.deleteAdapter(name)
    this.lora_A.delete(name)
    this.lora_B.delete(name)
  }

  protected override adapt(adapters: readonly string[], x: Tensor): Tensor {
    let result = this.withoutRemoved(adapters, this.baseForward(adapters, x), x)
    for (const name of adapters) {
      const input = dropout(x, this.settings[name].dropout)
      const update = this.update(name, input)
      if (!this.settings[name].useDora) {
        result = add(result, update)
        continue
      }
      const { bias } = this.original
      // Where elements were dropped, the base's part is computed anew from those that are left.
      const product = input === x ? (bias ? sub(result, bias) : result) : this.product(adapters, input)
      const factor = this.rescaling(name, adapters)
      result = add(result, add(mul(product, sub(factor, 1)), mul(update, factor)))
    }
    return result
  }

  protected override adaptRows(rows: AdapterRows, x: Tensor): Tensor {
    const updates = this.rowUpdates(rows)
    if (!updates) return super.adaptRows(rows, x) as Tensor
    for (const [name, update] of updates) update.bias = this.lora_B.get(name)!.bias
    const { inFeatures, outFeatures, bias } = this.original
    return linearRows(this.base_layer.forward(x), x, { rows, updates, inFeatures, outFeatures }, bias)
  }

  /** The product of the weight that the adapters build on with x, without the bias. */
  private product(adapters: readonly string[], x: Tensor): Tensor {
    const isTransposed = this.original instanceof Conv1D
    return this.withoutRemoved(adapters, linear(x, this.baseOf(adapters), undefined, isTransposed), x)
  }

  private withoutRemoved(adapters: readonly string[], product: Tensor, x: Tensor): Tensor {
    return this.removedBy(adapters).reduce(
      (rest, { removed: { a, b }, scaling }) => sub(rest, linear(mul(linear(x, a), scaling), b)),
      product,
    )
  }

  /** `s B A x`, with the bias of B. */
  private update(name: string, x: Tensor): Tensor {
    const scale = this.scaleOf(name)
    const { a, b } = this.matricesOf(name)
    // The small vector in the middle is scaled, not the large one at the end.
    const { bias } = this.lora_B.get(name)!
    return linear(mul(linear(x, a), scale), b, bias && mul(bias, scale))
  }

  override mergedParameters(adapters: readonly string[]): Record<string, Tensor> {
    const biases = adapters.flatMap(name => {
      const bias = this.lora_B.get(name)?.bias
      return bias ? [mul(bias, this.scaleOf(name))] : []
    })
    return withMergedBias(super.mergedParameters(adapters), biases, this.original.bias)
  }

  override matricesOf(name: string): { a: Parameter; b: Parameter } {
    return { a: this.lora_A.get(name)!.weight, b: this.lora_B.get(name)!.weight }
  }

  protected override get outputAxis(): number {
    return this.original instanceof Conv1D ? 1 : 0
  }

  protected override flattened(weight: Operand) {
    return { matrix: weight, isTransposed: this.original instanceof Conv1D }
  }

  protected override inLayout(update: Tensor): Tensor {
    return this.original instanceof Conv1D ? transpose(update) : update
  }

  protected override overWeight(vector: Tensor): Tensor {
    return this.original instanceof Conv1D ? vector : reshape(vector, [-1, 1])
  }
}

/** The same matrix, rows and columns exchanged. */
function transposedParameter(parameter: Parameter): Parameter {
  const [rows, columns] = parameter.shape
  const compute = async () => transposed(matrix(rows, columns, await parameter.read())).data
  return Parameter.computed([columns, rows], compute, { requiresGrad: false })
}
