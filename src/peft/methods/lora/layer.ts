/** @file What LoRA's layers share: settings and scales, and adapters on one weight, one after another (arXiv 2106.09685). */
import { add, matmul, mul, type Operand, reshape, sub, type Tensor } from '../../../graph/index.ts'
import { type Module, ModuleDict, Parameter } from '../../../nn/index.ts'
import type { WrapContext } from '../../method.ts'
import { type AdapterRows, changedAlone, TunerLayer } from '../../tuner-layer.ts'
import type { LoraConfig } from './config.ts'
import { DoraMagnitude, initialMagnitude, type LowRank, lengthsOf, rescale } from './dora.ts'
import type { InitialFactors } from './init/index.ts'
import type { RowUpdate } from './rows.ts'
import { type LoraSettings, loraSettings } from './settings.ts'

/** What all of LoRA's layers have: a table of settings, and factors that can be changed. */
export abstract class LoraLayer<M extends Module> extends TunerLayer<M> {
  readonly settings: Record<string, LoraSettings> = {}
  /** The factors as graphs read them: values that vary, so that adapters of other factors need no other compilation. */
  private readonly scales = new Map<string, Parameter>()
  /** The factors that the options give. */
  private readonly scalings: Record<string, number> = {}

  override adapterNames(): string[] {
    return Object.keys(this.settings)
  }

  override deleteAdapter(name: string): void {
    delete this.settings[name]
    delete this.scalings[name]
    this.scales.delete(name)
  }

  /** Adds an adapter with its first values; the settings are those of `path`. */
  addAdapter(context: WrapContext<LoraConfig>): void {
    const settings = loraSettings(context.config, context.path)
    this.settings[context.adapterName] = settings
    this.scalings[context.adapterName] = settings.scaling
    this.createMatrices(context, settings)
  }

  /** Gives an adapter its matrices. */
  protected abstract createMatrices(context: WrapContext<LoraConfig>, settings: LoraSettings): void

  /** The factor on an adapter's update, a scalar. */
  scaleOf(name: string): Parameter {
    const { scaling } = this.settings[name]
    let scale = this.scales.get(name)
    if (!scale) {
      scale = new Parameter([], { requiresGrad: false })
      scale.name = `${name}.scale`
      scale.varies = true
      this.scales.set(name, scale)
    }
    if (!scale.isLoaded || scale.data[0] !== Math.fround(scaling)) scale.data = Float32Array.of(scaling)
    return scale
  }

  override valuesBeside(name: string): readonly Parameter[] {
    return [this.scaleOf(name)]
  }

  /** Takes the options of another adapter of the same kind: its factor becomes the one that the options give. */
  resetScale(name: string, scaling = this.scalings[name]): void {
    this.scalings[name] = scaling
    this.setScale(name, 1)
  }

  override setScale(name: string, scale: number): void {
    if (name in this.settings) this.changeScaling(name, scale * this.scalings[name])
  }

  /** Multiplies the factors of the active adapters. */
  scaleLayer(scale: number): void {
    for (const name of this.activeAdapters()) this.changeScaling(name, this.settings[name].scaling * scale)
  }

  /** Divides the factors of the active adapters; without a number they become what the options say. */
  unscaleLayer(scale?: number): void {
    for (const name of this.activeAdapters()) {
      if (scale === undefined) this.setScale(name, 1)
      else this.changeScaling(name, this.settings[name].scaling / scale)
    }
  }

  private changeScaling(name: string, scaling: number): void {
    if (!Number.isFinite(scaling))
      throw new Error(`The scale of the adapter "${name}" must be a number, got ${scaling}`)
    this.settings[name].scaling = scaling
    this.scales.get(name)?.data.fill(scaling)
    changedAlone(this.adapterState)
  }
}

/** What the first values of an adapter did to the weight. */
type Beginning = Pick<InitialFactors, 'removed' | 'replaced'> & { scaling: number }

/**
 * An adapter on the parameter `weight` of a module. Subclasses hold the matrices and say how the weight is laid out; the
 * lengths of its rows (DoRA) and what adapters took out of it when they began are seen to here.
 */
export abstract class LoraWeightLayer<M extends Module & { weight: Parameter }> extends LoraLayer<M> {
  /** The learned lengths of each adapter that has them (DoRA). */
  lora_magnitude_vector = new ModuleDict<DoraMagnitude>()
  /**
   * What adapters took out of the weight when they began, or put in its place. It belongs to the base as the adapter
   * sees it and is neither trained nor saved, so it is kept out of the tree.
   */
  private readonly beginnings: Record<string, Beginning> = {}
  /** The squared lengths of a weight's rows, which DoRA needs in every pass. */
  private readonly lengths = new Map<Parameter, Parameter>()

  override deleteAdapter(name: string): void {
    super.deleteAdapter(name)
    delete this.beginnings[name]
    this.lora_magnitude_vector.delete(name)
  }

  override addAdapter(context: WrapContext<LoraConfig>): void {
    super.addAdapter(context)
    if (this.settings[context.adapterName].useDora) this.createMagnitude(context.adapterName)
  }

  /** Takes note of what the first values of an adapter do to the weight. */
  protected begin(name: string, { removed, replaced }: InitialFactors): void {
    if (removed || replaced) this.beginnings[name] = { removed, replaced, scaling: this.settings[name].scaling }
  }

  /** What an adapter took out of the weight when it began: `scaling b a`. */
  beginning(name: string): Readonly<Beginning> | undefined {
    return this.beginnings[name]
  }

  /** An adapter's matrices, `[r, in...]` and `[out, r...]`. */
  abstract matricesOf(name: string): { a: Parameter; b: Parameter }

  /** The same with two axes, `[r, in]` and `[out, r]`. */
  factorsOf(name: string): { a: Operand; b: Operand } {
    return this.matricesOf(name)
  }

  /** The weight as `[out, in]`, from its own layout. */
  protected abstract flattened(weight: Operand): { matrix: Operand; isTransposed: boolean }

  /** From `[out, in]` to the weight's own layout. */
  protected abstract inLayout(update: Tensor): Tensor

  /** A vector `[out]` in a shape that broadcasts with the weight. */
  protected abstract overWeight(vector: Tensor): Tensor

  /** The shape of an adapter's magnitude in files. */
  protected magnitudeShape(outputs: number): number[] {
    return [outputs]
  }

  /**
   * What the adapters of a batch's rows do here, by their names; undefined where rows must be computed by one adapter
   * after the other: some began with values taken out of the weight, or drop elements while training.
   */
  protected rowUpdates({ index, names }: AdapterRows): Map<string, RowUpdate> | undefined {
    const own = names.filter(name => name in this.settings)
    const drops = index.graph.training && own.some(name => this.settings[name].dropout > 0)
    if (drops || own.some(name => this.beginnings[name])) return undefined
    const updateOf = (name: string): RowUpdate => ({
      ...this.factorsOf(name),
      rank: this.settings[name].rank,
      scale: this.scaleOf(name),
      rescaling: this.settings[name].useDora ? this.rescaling(name, [name]) : undefined,
    })
    return new Map(own.map(name => [name, updateOf(name)]))
  }

  /** The update of the weight by one adapter, in the weight's own layout. */
  protected delta(name: string): Tensor {
    const { a, b } = this.factorsOf(name)
    return this.inLayout(mul(matmul(b, a), this.scaleOf(name)))
  }

  override mergedParameters(adapters: readonly string[]): Record<string, Tensor> {
    const own = adapters.filter(name => name in this.settings)
    if (own.length === 0) return {}
    // Adding zero makes a value of what may be a constant: an output must be computed.
    let merged = add(this.baseOf(own), 0)
    for (const { removed, scaling } of this.removedBy(own)) {
      merged = sub(merged, this.inLayout(matmul(removed.b, removed.a, { alpha: scaling })))
    }
    for (const name of own) {
      merged = add(merged, this.delta(name))
      if (this.settings[name].useDora) merged = mul(merged, this.overWeight(this.rescaling(name, own)))
    }
    return { weight: merged }
  }

  /** The weight that the adapters build on, before anything is subtracted. */
  protected baseOf(adapters: readonly string[]): Parameter {
    const replacing = adapters.filter(name => this.beginnings[name]?.replaced)
    if (replacing.length > 1) {
      throw new Error(
        `The adapters ${replacing.map(name => `"${name}"`).join(' and ')} each replace the weight by one of few bits (loftq), so they cannot be active together; activate one of them`,
      )
    }
    return replacing.length ? this.beginnings[replacing[0]].replaced! : this.original.weight
  }

  /** What adapters took out of the weight when they began. */
  protected removedBy(adapters: readonly string[]) {
    return adapters.flatMap(name => {
      const { removed, scaling } = this.beginnings[name] ?? {}
      return removed && scaling !== undefined ? [{ removed, scaling }] : []
    })
  }

  /** The wrapped module's output on the weight that the adapters build on; what was taken out is still in it. */
  protected baseForward(adapters: readonly string[], x: Tensor): Tensor {
    const { base_layer } = this
    const { weight } = this.original
    const base = this.baseOf(adapters)
    const forward = () => (base_layer as unknown as { forward(x: Tensor): Tensor }).forward(x)
    return base === weight ? forward() : x.graph.rebind([[weight, base.trace(x.graph)]], forward)
  }

  /** The factors on the rows of the weight by which an adapter gives them the lengths it has learnt, `[out]`. */
  protected rescaling(name: string, adapters: readonly string[]): Tensor {
    const base = this.baseOf(adapters)
    const updates: LowRank[] = this.removedBy(adapters).map(({ removed, scaling }) => ({ ...removed, scale: -scaling }))
    updates.push({ ...this.factorsOf(name), scale: this.scaleOf(name) })
    const magnitude = this.lora_magnitude_vector.get(name)!.weight
    return rescale(reshape(magnitude, [-1]), {
      ...this.flattened(base),
      weight: base,
      lengths: this.lengthsOf(base),
      updates,
    })
  }

  /** The squared length of each of a weight's rows, worked out once. */
  private lengthsOf(weight: Parameter): Parameter {
    let lengths = this.lengths.get(weight)
    if (!lengths) {
      lengths = lengthsOf(weight, this.outputAxis)
      this.lengths.set(weight, lengths)
    }
    return lengths
  }

  /** The axis of the weight that counts outputs. */
  protected abstract get outputAxis(): number

  private createMagnitude(name: string): void {
    const { a, b } = this.matricesOf(name)
    const { removed, replaced } = this.beginnings[name] ?? {}
    const { scaling } = this.settings[name]
    const base = replaced ?? this.original.weight
    const axis = this.outputAxis
    const compute = async () => {
      // What was taken out of the weight is what A and B hold: together they are the weight itself.
      const update = removed ? undefined : { a: await a.read(), b: await b.read(), scaling }
      return initialMagnitude({ data: await base.read(), shape: base.shape, axis }, update)
    }
    const shape = this.magnitudeShape(base.shape[axis])
    this.lora_magnitude_vector.set(name, new DoraMagnitude(Parameter.computed(shape, compute)))
  }
}
