/** @file LoRA on convolutions: A is a convolution of the same windows, B one of a single element. */
import { add, convolution, dropout, mul, type Operand, reshape, sub, type Tensor } from '../../../graph/index.ts'
import { type Convolution, Module, ModuleDict, type Parameter } from '../../../nn/index.ts'
import type { WrapContext } from '../../method.ts'
import { initialBias, withMergedBias } from './bias.ts'
import type { LoraConfig } from './config.ts'
import { drawnFactors } from './init/drawn.ts'
import { LoraWeightLayer } from './layer.ts'
import type { LoraSettings } from './settings.ts'

/** A kernel, and a bias where it has one, under PEFT's names. */
export class LoraKernel extends Module {
  /** `[r, in, kernel...]`, or `[out, r / groups, 1...]`. */
  weight: Parameter
  bias: Parameter | undefined

  constructor(weight: Parameter, bias?: Parameter) {
    super()
    this.weight = weight
    this.bias = bias
  }

  forward(): never {
    throw new Error('A LoraKernel only holds values; call the layer that it belongs to')
  }
}

/**
 * LoRA on a {@link Convolution}: `W * x + s B * (A * x)`. A lies on its input as W does: with the same stride, padding,
 * dilation and kind of padding. With groups A sees all channels and B is grouped, as in PEFT's files; such an update is
 * wider than W and cannot be merged into it.
 */
export class LoraConvolution extends LoraWeightLayer<Convolution> {
  /** `[r, in, kernel...]` for each adapter. */
  lora_A = new ModuleDict<LoraKernel>()
  /** `[out, r / groups, 1...]` for each adapter. */
  lora_B = new ModuleDict<LoraKernel>()

  protected override createMatrices(context: WrapContext<LoraConfig>, { rank, useDora }: LoraSettings): void {
    const { adapterName: name, config, random, path } = context
    const { inChannels, outChannels, kernelSize, groups } = this.original
    const { initLoraWeights: init, loraBias } = config
    if (typeof init !== 'boolean' && init !== 'gaussian') {
      throw new Error(
        `LoraConfig: initLoraWeights "${init}" works on dense layers only, "${path}" is a convolution; use true or "gaussian", or leave it out of targetModules`,
      )
    }
    if (rank % groups !== 0) {
      throw new Error(
        `LoraConfig: the rank ${rank} cannot be divided into the ${groups} groups of "${path}"; choose a multiple of ${groups}, for this layer alone with rankPattern`,
      )
    }
    if (useDora && groups > 1) {
      throw new Error(
        `LoraConfig: useDora does not work on "${path}", a convolution of ${groups} groups; leave it out of targetModules`,
      )
    }
    const shapeA = [rank, inChannels, ...kernelSize]
    const shapeB = [outChannels, rank / groups, ...kernelSize.map(() => 1)]
    const { a, b } = drawnFactors(init, { shapeA, shapeB, rank, random })
    this.lora_A.set(name, new LoraKernel(a))
    const bias = loraBias ? initialBias(outChannels, rank / groups, context) : undefined
    this.lora_B.set(name, new LoraKernel(b, bias))
  }

  override deleteAdapter(name: string): void {
    super.deleteAdapter(name)
    this.lora_A.delete(name)
    this.lora_B.delete(name)
  }

  protected override adapt(adapters: readonly string[], x: Tensor): Tensor {
    let result = this.baseForward(adapters, x)
    for (const name of adapters) {
      const input = dropout(x, this.settings[name].dropout)
      const update = this.update(name, input)
      if (!this.settings[name].useDora) {
        result = add(result, update)
        continue
      }
      const { bias, kernelSize, window } = this.original
      const overChannels = (vector: Operand) => reshape(vector, [1, -1, ...kernelSize.map(() => 1)])
      const product =
        input === x
          ? bias
            ? sub(result, overChannels(bias))
            : result
          : convolution(this.original.padded(input), this.original.weight, undefined, window)
      const factor = overChannels(this.rescaling(name, adapters))
      result = add(result, add(mul(product, sub(factor, 1)), mul(update, factor)))
    }
    return result
  }

  /** `s B * (A * x)`, with the bias of B. */
  private update(name: string, x: Tensor): Tensor {
    const { original } = this
    const scale = this.scaleOf(name)
    const inner = convolution(original.padded(x), this.lora_A.get(name)!.weight, undefined, original.window)
    const { weight, bias } = this.lora_B.get(name)!
    return convolution(mul(inner, scale), weight, bias && mul(bias, scale), { groups: original.groups })
  }

  override mergedParameters(adapters: readonly string[]): Record<string, Tensor> {
    const own = adapters.filter(name => name in this.settings)
    const { groups, bias } = this.original
    if (own.length && groups > 1) {
      throw new Error(
        `LoRA on a convolution of ${groups} groups cannot be merged: A sees all channels, the weight only those of its group. Keep the adapter, or leave grouped convolutions out of targetModules.`,
      )
    }
    const biases = own.flatMap(name => {
      const own = this.lora_B.get(name)?.bias
      return own ? [mul(own, this.scaleOf(name))] : []
    })
    return withMergedBias(super.mergedParameters(own), biases, bias)
  }

  override matricesOf(name: string): { a: Parameter; b: Parameter } {
    return { a: this.lora_A.get(name)!.weight, b: this.lora_B.get(name)!.weight }
  }

  override factorsOf(name: string): { a: Operand; b: Operand } {
    const { a, b } = this.matricesOf(name)
    return { a: reshape(a, [a.shape[0], -1]), b: reshape(b, [b.shape[0], -1]) }
  }

  protected override get outputAxis(): number {
    return 0
  }

  protected override flattened(weight: Operand) {
    return { matrix: reshape(weight, [this.original.outChannels, -1]), isTransposed: false }
  }

  protected override inLayout(update: Tensor): Tensor {
    return reshape(update, this.original.weight.shape)
  }

  protected override overWeight(vector: Tensor): Tensor {
    return reshape(vector, [-1, ...this.original.weight.shape.slice(1).map(() => 1)])
  }

  protected override magnitudeShape(outputs: number): number[] {
    return [1, outputs, ...this.original.kernelSize.map(() => 1)]
  }
}
