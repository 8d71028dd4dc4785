/** @file What all optimizers share: the vector they change, their state, and how it is saved. */
import { type Gradients, type Parameter, ParameterVector, type UpdateHook } from '../../nn/index.ts'

/** Options of every optimizer. */
export interface OptimizerOptions {
  /** The learning rate. */
  lr?: number
  /** Decoupled weight decay, or the coefficient of the L2 penalty for SGD. */
  weightDecay?: number
  /** Which parameters decay; by default all. */
  decays?: (name: string, parameter: Parameter) => boolean
  /** A factor on the learning rate of each parameter; 1 by default. */
  lrScale?: (name: string, parameter: Parameter) => number
}

/** The state of an optimizer: the number of steps taken, and flat vectors parallel to the parameters. */
export interface OptimizerState {
  step: number
  vectors: Record<string, Float32Array>
  /** What the parameters' hooks keep, in the order of {@link Optimizer.hooks}. */
  hooks?: unknown[]
}

/**
 * An optimizer over a {@link ParameterVector}. `step` changes the parameters in place; nothing outside the vector is
 * ever touched.
 */
export abstract class Optimizer {
  readonly parameters: ParameterVector
  /** The learning rate of the next step; a schedule sets it. */
  lr: number
  readonly weightDecay: number
  /** The slices with what is special about them, as ranges of the vector. */
  protected readonly decayed: readonly { start: number; end: number; decay: number; lrScale: number }[]
  /** What the parameters want to be told of steps, each once. */
  readonly hooks: readonly UpdateHook[]
  protected stepCount = 0

  constructor(
    parameters: Iterable<readonly [string, Parameter]>,
    options: OptimizerOptions,
    defaults: { lr: number; weightDecay: number },
  ) {
    this.parameters = parameters instanceof ParameterVector ? parameters : new ParameterVector(parameters)
    this.lr = options.lr ?? defaults.lr
    this.weightDecay = options.weightDecay ?? defaults.weightDecay
    if (!(this.lr >= 0)) throw new Error(`The learning rate must not be negative, got ${this.lr}`)
    if (!(this.weightDecay >= 0)) throw new Error(`The weight decay must not be negative, got ${this.weightDecay}`)
    const decays = options.decays ?? (() => true)
    const lrScale = options.lrScale ?? (() => 1)
    this.decayed = this.parameters.slices.map(({ name, parameter, offset, size }) => ({
      start: offset,
      end: offset + size,
      decay: decays(name, parameter) ? this.weightDecay : 0,
      lrScale: lrScale(name, parameter),
    }))
    const hooks = this.parameters.slices.flatMap(({ parameter }) => parameter.hook ?? [])
    this.hooks = [...new Set(hooks)]
  }

  /**
   * Tells the parameters' methods how many steps the training will have; the Trainer does it by itself. Methods that plan
   * ahead, such as AdaLoRA, need it before the first step.
   */
  beforeTraining(plan: { totalSteps: number }): void {
    for (const hook of this.hooks) hook.beforeTraining?.(plan)
  }

  /** Takes one step. `grads` must be of the same parameters. Throws when they are not, or hold NaN or infinity. */
  step(grads: Gradients): void {
    const gradient = this.#aligned(grads)
    for (const hook of this.hooks) hook.beforeStep?.(grads, this.stepCount + 1)
    this.stepCount++
    this.update(this.parameters.data, gradient)
    for (const hook of this.hooks) hook.afterStep?.(grads, this.stepCount)
  }

  /** Changes `values` by `gradient`, both laid out as the parameters. */
  protected abstract update(values: Float32Array, gradient: Float32Array): void

  /** The state's vectors by name. */
  protected abstract vectors(): Record<string, Float32Array>

  /** A copy of the state, for a checkpoint. */
  state(): OptimizerState {
    const vectors = Object.fromEntries(Object.entries(this.vectors()).map(([name, vector]) => [name, vector.slice()]))
    return { step: this.stepCount, vectors, hooks: this.hooks.map(hook => hook.state?.() ?? null) }
  }

  /** Continues from a state. Throws when it belongs to other parameters. */
  loadState(state: OptimizerState): void {
    for (const [name, vector] of Object.entries(this.vectors())) {
      const saved = state.vectors[name]
      if (saved?.length !== vector.length) {
        throw new Error(
          `The optimizer's state does not fit: "${name}" has ${saved?.length ?? 'no'} values, expected ${vector.length}`,
        )
      }
      vector.set(saved)
    }
    this.stepCount = state.step
    for (const [i, hook] of this.hooks.entries()) hook.loadState?.(state.hooks?.[i])
  }

  #aligned(grads: Gradients): Float32Array {
    const own = this.parameters.slices
    const other = grads.parameters.slices
    if (own.length !== other.length || own.some(({ parameter }, i) => parameter !== other[i].parameter)) {
      throw new Error(
        `The gradients are of other parameters than the optimizer's (${other.length} and ${own.length}); make both from the same set`,
      )
    }
    return grads.data
  }
}
