/** @file A dense layer with adapters of AdapterHub's LoRA family. */
import { graphOf, type Operand, type Tensor, toTensor, transpose } from '../../../graph/index.ts'
import { Conv1D, type Linear, ModuleDict } from '../../../nn/index.ts'
import { drawMissing, randomFor } from '../../adapterhub/first-values.ts'
import { type Composition, compose } from '../../composition.ts'
import type { WrapContext } from '../../method.ts'
import { TunerLayer } from '../../tuner-layer.ts'
import type { DenseShape, DenseValues, HubLoraAdapter } from './adapter.ts'
import type { Blocks } from './blocks.ts'
import { type DenseFlow, denseComposer } from './composer.ts'
import { type AdapterHubLoraConfig, isVera } from './config.ts'
import { LowRankAdapter } from './low-rank.ts'
import { isFused } from './places.ts'
import { ScaleAdapter } from './scale.ts'
import { VeraAdapter, type VeraShared } from './vera.ts'

/** Where the matrices that all layers share stand on a PeftModel. */
export const VERA_SHARED = 'base_model.shared_parameters'

/** Stands in the place of a dense layer. Several active adapters change its result one after another. */
export class HubLoraLayer extends TunerLayer<Linear | Conv1D> {
  loras = new ModuleDict<HubLoraAdapter>()

  /** Adds an adapter with its first values. */
  addAdapter(context: WrapContext<AdapterHubLoraConfig>): void {
    const { adapterName, config, path, random, shared, model } = context
    const { inFeatures, outFeatures, weight } = this.original
    const shape: DenseShape = {
      input: inFeatures,
      blocks: blocksOf(config, outFeatures, isFused(config, path, model)),
      weight,
      isTransposed: this.original instanceof Conv1D,
    }
    const adapter = createAdapter(config, shape, { [adapterName]: shared[VERA_SHARED] as VeraShared })
    this.loras.set(adapterName, drawMissing(adapter, randomFor(config.initWeightsSeed, path, random)))
  }

  override adapterNames(): string[] {
    return this.loras.keys()
  }

  override deleteAdapter(name: string): void {
    this.loras.delete(name)
  }

  /** The weight before all adapters, `[out, in]`. */
  private originalWeight(): Operand {
    const { weight } = this.original
    return this.original instanceof Conv1D ? transpose(weight) : weight
  }

  protected override adapt(names: readonly string[], x: Tensor): Tensor {
    return names.reduce(
      (result, name) => this.loras.get(name)!.forward(result, x, () => this.originalWeight()),
      this.base_layer.forward(x) as Tensor,
    )
  }

  protected override adaptComposed(composition: Composition, x: Tensor): Tensor {
    const base = this.base_layer.forward(x) as Tensor
    const composer = denseComposer(
      name => this.loras.get(name)!,
      () => this.originalWeight(),
    )
    return compose<DenseFlow>(composition, { input: x, base, result: base }, composer).result
  }

  override mergedParameters(names: readonly string[]): Record<string, Tensor> {
    for (const name of names) if (this.loras.get(name)?.gate) refuseGates(name)
    const own = names.flatMap(name => this.loras.get(name) ?? [])
    if (own.length === 0) return {}
    const { bias } = this.original
    const original = toTensor(graphOf([]), this.originalWeight())
    const start: DenseValues = { weight: original, bias: bias?.trace(original.graph) }
    const merged = own.reduce((values, adapter) => adapter.merge(values, original), start)
    const weight = this.original instanceof Conv1D ? transpose(merged.weight) : merged.weight
    return merged.bias === start.bias ? { weight } : { weight, bias: merged.bias! }
  }
}

/** Refuses to make weights of an adapter whose effect depends on the input. */
export function refuseGates(adapterName: string): never {
  throw new Error(
    `"${adapterName}" cannot become weights: its gates depend on the input (useGating). Keep the adapter beside the model.`,
  )
}

/** The blocks that an adapter changes: all outputs, or those of the attention's matrices that are in one layer. */
export function blocksOf(config: AdapterHubLoraConfig, outFeatures: number, isFusedLayer: boolean): Blocks {
  if (!isFusedLayer) return { count: 1, width: outFeatures, chosen: [0] }
  const names = ['q', 'k', 'v'] as const
  const chosen = names.flatMap((name, i) => (config.attnMatrices.includes(name) ? [i] : []))
  return { count: names.length, width: outFeatures / names.length, chosen }
}

function createAdapter(
  config: AdapterHubLoraConfig,
  shape: DenseShape,
  shared: Readonly<Record<string, VeraShared>>,
): HubLoraAdapter {
  if (config.compositionMode === 'scale') return new ScaleAdapter(config, shape)
  return isVera(config) ? new VeraAdapter(config, shape, new ModuleDict(shared)) : new LowRankAdapter(config, shape)
}
