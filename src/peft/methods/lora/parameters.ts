/** @file LoRA on parameters that are no layer's weight, such as the experts of a mixture (PEFT's `target_parameters`). */
import { add, graphOf, matmul, mul, reshape, Tensor, transpose } from '../../../graph/index.ts'
import { type Linear, type Module, ModuleDict, type Parameter } from '../../../nn/index.ts'
import { didYouMean } from '../../../util/nearest.ts'
import { baseModules, unwrapped } from '../../adapted-tree.ts'
import type { ModelFacts, WrapContext } from '../../method.ts'
import { type AdapterState, TunerLayer } from '../../tuner-layer.ts'
import type { LoraConfig } from './config.ts'
import { drawnFactors } from './init/drawn.ts'
import { LoraLayer } from './layer.ts'
import { matrixLayer } from './linear.ts'
import type { LoraSettings } from './settings.ts'

/** How a parameter is read: experts, inputs and outputs of each. */
interface ParameterLayout {
  experts: number
  inputs: number
  outputs: number
  /** Whether an expert is stored as `[in, out]`. */
  isTransposed: boolean
}

/**
 * LoRA on one parameter of a module, `[out, in]` or `[experts, out, in]`: each expert has an update of rank r. Several
 * parameters of one module have a layer each, one around the other, in the order in which the module declares them;
 * files tell them apart by that alone.
 */
export class LoraParameter extends LoraLayer<Module> {
  override readonly showsNesting = true
  readonly parameterName: string
  /** `[r experts, in]` for each adapter. */
  lora_A = new ModuleDict<Linear>()
  /** `[out, r experts]` for each adapter. */
  lora_B = new ModuleDict<Linear>()

  constructor(base: Module, state: AdapterState, parameterName: string) {
    super(base, state)
    this.parameterName = parameterName
  }

  /** The parameter in the wrapped module. */
  get parameter(): Parameter {
    return (this.original as unknown as Record<string, Parameter>)[this.parameterName]
  }

  private get layout(): ParameterLayout {
    const { shape } = this.parameter
    const isTransposed = shape.length === 3 && (this.original as { isTransposed?: boolean }).isTransposed === true
    const experts = shape.length === 3 ? shape[0] : 1
    const [outputs, inputs] = isTransposed ? [shape[2], shape[1]] : shape.slice(-2)
    return { experts, inputs, outputs, isTransposed }
  }

  protected override createMatrices(context: WrapContext<LoraConfig>, { rank }: LoraSettings): void {
    const { adapterName: name, config, random } = context
    const { experts, inputs, outputs } = this.layout
    const { a, b } = drawnFactors(config.initLoraWeights as boolean | 'gaussian', {
      shapeA: [rank * experts, inputs],
      shapeB: [outputs, rank * experts],
      rank,
      random,
    })
    this.lora_A.set(name, matrixLayer(a))
    this.lora_B.set(name, matrixLayer(b))
  }

  override deleteAdapter(name: string): void {
    super.deleteAdapter(name)
    this.lora_A.delete(name)
    this.lora_B.delete(name)
  }

  override setScale(name: string, scale: number): void {
    super.setScale(name, scale)
    // The model knows the outermost of several layers only.
    if (this.base_layer instanceof LoraParameter) this.base_layer.setScale(name, scale)
  }

  protected override adapt(adapters: readonly string[], ...inputs: unknown[]): unknown {
    const { base_layer, parameter } = this
    const graph = graphOf(inputs.filter(input => input instanceof Tensor))
    const changed = graph.trace(() => this.mergedParameters(adapters)[this.parameterName])
    return graph.rebind([[parameter, changed]], () => base_layer.forward(...inputs))
  }

  protected override adaptRows(): never {
    throw new Error(
      `Rows with adapters of their own do not work with targetParameters: what "${this.parameterName}" computes is not in the order of the rows. Run each adapter on its own rows.`,
    )
  }

  override mergedParameters(adapters: readonly string[]): Record<string, Tensor> {
    const own = adapters.filter(name => name in this.settings)
    if (own.length === 0) return {}
    const [first, ...others] = own.map(name => this.delta(name))
    const update = others.reduce((sum, delta) => add(sum, delta), first)
    return { [this.parameterName]: add(this.parameter, update) }
  }

  private delta(name: string): Tensor {
    const { experts, inputs, outputs, isTransposed } = this.layout
    const [a, b] = [this.lora_A.get(name)!.weight, this.lora_B.get(name)!.weight]
    const { rank } = this.settings[name]
    const scale = this.scaleOf(name)
    if (this.parameter.shape.length === 2) return mul(matmul(b, a), scale)
    // A holds expert after expert; in B the ranks come first, and each of them holds all experts.
    const perExpertA = reshape(a, [experts, rank, inputs])
    const perExpertB = transpose(reshape(b, [outputs, rank, experts]), [2, 0, 1])
    const delta = isTransposed
      ? matmul(perExpertA, perExpertB, { transA: true, transB: true })
      : matmul(perExpertB, perExpertA)
    return mul(delta, scale)
  }
}

const endsWithName = (path: string, name: string) => path === name || path.endsWith(`.${name}`)

const join = (path: string, name: string) => (path ? `${path}.${name}` : name)

/** The names of those parameters of a module that the configuration targets, in the order of their declaration. */
export function targetedParameters({ targetParameters }: LoraConfig, path: string, module: Module): string[] {
  const isTarget = (name: string) => targetParameters?.some(target => endsWithName(join(path, name), target)) ?? false
  return module.ownParameters().flatMap(([name]) => (isTarget(name) ? [name] : []))
}

/**
 * The modules that hold parameters which the configuration targets.
 *
 * @param named the modules that are targets themselves
 * @throws for a name that matches no parameter, for one that is not of two or three axes, and for the weight of a layer
 *   that is a target itself
 */
export function parameterHolders(config: LoraConfig, { tree }: ModelFacts, named: readonly string[]): string[] {
  if (!config.targetParameters?.length) return []
  const holders: string[] = []
  const matched = new Set<string>()
  const known: string[] = []
  for (const { path, module } of baseModules(tree)) {
    const holder = unwrapped(module)
    const paths = holder.ownParameters().map(([name]) => join(path, name))
    known.push(...paths)
    for (const target of config.targetParameters) {
      if (paths.some(parameter => endsWithName(parameter, target))) matched.add(target)
    }
    const names = targetedParameters(config, path, holder)
    if (names.length === 0) continue
    if (path === '') {
      throw new Error(
        `targetParameters: "${names[0]}" stands in the model itself, not in a module of it; put it into one`,
      )
    }
    if (named.includes(path)) {
      throw new Error(
        `targetParameters names "${join(path, names[0])}", and targetModules its module; leave one of them out (an empty targetModules turns off the usual ones)`,
      )
    }
    for (const name of names) {
      const { shape } = (holder as unknown as Record<string, Parameter>)[name]
      if (shape.length === 2 || shape.length === 3) continue
      throw new Error(
        `targetParameters: "${join(path, name)}" has shape [${shape}]; expected two axes [out, in] or three [experts, out, in]`,
      )
    }
    holders.push(path)
  }
  for (const target of config.targetParameters) {
    if (matched.has(target)) continue
    const candidates = target.includes('.') ? known : known.map(path => path.slice(path.lastIndexOf('.') + 1))
    throw new Error(`targetParameters: no parameter is called "${target}".${didYouMean(target, candidates)}`)
  }
  return holders
}

/**
 * Puts an adapter on parameters of a module.
 *
 * @param names those that are targeted, in the order of their declaration
 * @throws when other adapters on the module target other parameters: files could not tell them apart
 */
export function wrapParameters(context: WrapContext<LoraConfig>, names: readonly string[]): LoraParameter {
  const standing: LoraParameter[] = []
  for (let layer = context.module; layer instanceof TunerLayer; layer = layer.base_layer) {
    if (layer instanceof LoraParameter) standing.unshift(layer)
  }
  const others = standing.map(({ parameterName }) => parameterName)
  if (standing.length && others.join() !== names.join()) {
    throw new Error(
      `targetParameters: another adapter adapts ${others.join(', ')} of "${context.path}", this one ${names.join(', ')}; all adapters of a model must name the same parameters`,
    )
  }
  let { module } = context
  for (const [i, name] of names.entries()) {
    const layer = standing[i] ?? new LoraParameter(module, context.state, name)
    const path = join(context.path, name)
    // Ranks are looked up for the parameter; each has random values of its own.
    layer.layerIndex = context.layerIndex
    layer.addAdapter({ ...context, path, random: context.random.fork(name) })
    module = layer
  }
  return module as LoraParameter
}
