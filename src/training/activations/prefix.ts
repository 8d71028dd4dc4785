/** @file The two programs of a training that keeps activations: what does not train, and the step on top of it. */
import { add, findFrozenPrefix, Graph, pushSlices, replaceTensors, type Shape, type Tensor } from '../../graph/index.ts'
import { FedParameters } from '../../models/fed-parameters.ts'
import { type InputSpecs, type SymbolicInputs, TracedFunction } from '../../models/function.ts'
import type { ParameterVector } from '../../nn/index.ts'
import type { Batch } from '../collate.ts'
import { lossOf, type TrainableModel } from '../model.ts'
import { type StepFunction, stepLowering, type ValueAndGradOptions, valueAndGrad } from '../value-and-grad.ts'

/** How the steps of a training are compiled. */
export type StepOptions = Omit<ValueAndGradOptions, 'inputs' | 'parameters'>

/** What is kept of a batch: an input of the step, with the name of the axis of examples first in its shape. */
export interface KeptTensor {
  name: string
  shape: Shape
}

/** What a training step spends on what does not train. */
export interface PrefixCosts {
  /** Floating-point operations of a batch that need not be computed again. */
  saved: number
  /** All of a step. */
  total: number
}

/** What is known of a training before anything is compiled. */
export interface PrefixOptions {
  model: TrainableModel
  vector: ParameterVector
  /** A batch like all others. */
  example: Batch
  /** The axes, beside that of examples, of which each example has a stretch of its own. */
  axes: readonly string[]
  /** Whether examples share rows: then only what has an axis of tokens can be kept. */
  isPacked: boolean
}

/** The part of a model that computes the same of an example at each step, and the step that reads its results. */
export class FrozenPrefix {
  readonly costs: PrefixCosts
  readonly kept: readonly KeptTensor[]
  readonly #options: PrefixOptions
  readonly #specs: InputSpecs

  private constructor(options: PrefixOptions, costs: PrefixCosts, tensors: readonly Tensor[]) {
    this.#options = options
    this.#specs = options.model.inputSpecs()
    this.costs = costs
    this.kept = tensors.map(({ shape }, i) => ({ name: nameOf(i), shape }))
  }

  /**
   * Looks for such a part.
   *
   * @returns undefined where there is none; then `withoutDropout` says what there would be without dropout
   */
  static find(options: PrefixOptions): { prefix?: FrozenPrefix; withoutDropout?: PrefixCosts } {
    const loss = trace(options)
    const found = cut(loss, options)
    if (found) return { prefix: new FrozenPrefix(options, found, found.kept) }
    return { withoutDropout: cut(loss, options, true) }
  }

  /** Compiles the part that does not train: its outputs are what is kept of a batch. */
  compile(how: StepOptions): TracedFunction {
    const { model, vector } = this.#options
    const build = (graph: Graph, inputs: SymbolicInputs) => {
      graph.training = true
      const kept = this.#cut(wholeLoss(model, inputs))
      const { outputs } = pushSlices(kept)
      return Object.fromEntries(outputs.map((tensor, i) => [nameOf(i), tensor]))
    }
    return new TracedFunction(vector, build, {
      ...stepLowering(how),
      quantizedProducts: 'auto',
      ...how,
      inputs: this.#specs,
      parameters: vector,
      module: model,
    })
  }

  /** Compiles the step, whose batches hold what was kept. */
  compileStep(how: StepOptions): Promise<StepFunction> {
    const { model, vector } = this.#options
    const kept = this.kept.map(({ name, shape }) => [name, { dtype: 'float32', shape }] as const)
    return valueAndGrad(
      model,
      (_, inputs) => {
        const own = Object.fromEntries(Object.entries(inputs).filter(([name]) => name in this.#specs))
        const loss = wholeLoss(model, own)
        return replaceTensors(loss, new Map(this.#cut(loss).map((tensor, i) => [tensor, inputs[nameOf(i)]])))
      },
      { ...how, inputs: { ...this.#specs, ...Object.fromEntries(kept) }, parameters: vector },
    )
  }

  /** The place of the cut in another trace of the same model. */
  #cut(loss: Tensor): Tensor[] {
    const { kept = [] } = cut(loss, this.#options) ?? {}
    const shapes = (tensors: readonly { shape: Shape }[]) => JSON.stringify(tensors.map(({ shape }) => shape))
    if (shapes(kept) === shapes(this.kept)) return kept
    throw new Error(
      'Kept activations do not fit a batch: it has other inputs than the first one. Train with cacheActivations: false.',
    )
  }
}

const nameOf = (index: number) => `activations.${index}`

/** The loss with the penalties of layers. */
function wholeLoss(model: TrainableModel, inputs: SymbolicInputs): Tensor {
  const loss = lossOf(model, inputs)
  return loss.graph.takeLosses().reduce((sum, part) => add(sum, part), loss)
}

/** The loss of batches like the example, traced as a step traces it. */
function trace({ model, vector, example }: PrefixOptions): Tensor {
  const graph = new Graph()
  const inputs: SymbolicInputs = {}
  for (const [name, { dtype, shape }] of Object.entries(model.inputSpecs())) {
    if (example[name]) inputs[name] = graph.input(name, dtype, shape)
  }
  vector.bind(graph, graph.input('parameters', 'float32', [vector.size]))
  FedParameters.in(graph, 'values', ({ isSwitchable }) => isSwitchable)
  return graph.trace(() => {
    graph.training = true
    return wholeLoss(model, inputs)
  })
}

function cut(loss: Tensor, { model, example, axes, isPacked }: PrefixOptions, ignoreDropout = false) {
  const specs = model.inputSpecs()
  return findFrozenPrefix(loss, {
    isExample: name => name in specs,
    canKeep: ({ dtype, shape: [first, ...others] }) =>
      dtype === 'float32' &&
      first === axisOfExamples(specs, example) &&
      others.every(dim => typeof dim === 'number' || axes.includes(dim)) &&
      (!isPacked || others.some(dim => axes.includes(dim as string))),
    lengths: lengthsOf(specs, example),
    ignoreDropout,
  })
}

function axisOfExamples(specs: InputSpecs, batch: Batch) {
  const [first] = Object.keys(batch).filter(name => name in specs)
  return specs[first]?.shape[0]
}

/** The lengths that a batch gives to the names of axes. */
export function lengthsOf(specs: InputSpecs, batch: Batch): Record<string, number> {
  const lengths: Record<string, number> = {}
  for (const [name, { dims }] of Object.entries(batch)) {
    specs[name]?.shape.forEach((dim, axis) => {
      if (typeof dim === 'string') lengths[dim] ??= dims[axis]
    })
  }
  return lengths
}
