/** @file Allots the ranks of an adapter's layers: the less important directions go, step by step. */
import type { Gradients, Parameter, UpdateHook } from '../../../nn/index.ts'
import { type AdaLoraConfig, checkSchedule } from './config.ts'
import type { AdaLoraLayer } from './layer.ts'

/** The smoothed importance of each element of a parameter, and how uncertain it is. */
interface Importance {
  mean: Float32Array
  uncertainty: Float32Array
}

/** What a checkpoint holds, as JSON. */
interface AllocatorState {
  totalStep: number | null
  importance: { mean: number[]; uncertainty: number[] }[]
  left: boolean[][]
}

/**
 * Told of every step, it keeps the importance of the parameters of an adapter (a mean of `|value x gradient|` and of how
 * much it varies), and sets the singular values of the least important directions to zero, so many that the ranks
 * shrink from `initR` to `targetR` on average. After the last allotment the directions stay.
 */
export class RankAllocator implements UpdateHook {
  readonly adapterName: string
  readonly config: AdaLoraConfig
  readonly layers: readonly AdaLoraLayer[]
  /** The number of steps that the user gave; a training of another length must not silently replace it. */
  readonly #given: number | null
  readonly #importance = new Map<Parameter, Importance>()

  constructor(adapterName: string, config: AdaLoraConfig, layers: Iterable<AdaLoraLayer>) {
    this.adapterName = adapterName
    this.config = config
    this.layers = [...layers]
    this.#given = config.totalStep
  }

  /** @throws when the training is too short for the schedule */
  beforeTraining({ totalSteps }: { totalSteps: number }): void {
    const given = this.#given
    if (given !== null && given > totalSteps) {
      throw new Error(
        `AdaLoRA: totalStep is ${given} and the training has ${totalSteps} steps, so the ranks would not come down to targetR; leave totalStep out, set it to ${totalSteps}, or train for more steps`,
      )
    }
    checkSchedule(this.config, given ?? totalSteps)
    this.config.totalStep = given ?? totalSteps
    this.#importance.clear()
    for (const { settings } of this.layers)
      settings[this.adapterName].left = settings[this.adapterName].left.map(() => true)
  }

  /** @throws when the length of the training is not known */
  beforeStep(): void {
    if (this.config.totalStep !== null) return
    throw new Error(
      'AdaLoRA plans its ranks over the whole training, whose length is not known: set totalStep in AdaLoraConfig, or call optimizer.beforeTraining({ totalSteps }) before the first step. The Trainer does that by itself.',
    )
  }

  afterStep(grads: Gradients, step: number): void {
    const { tinit, tfinal, deltaT } = this.config
    const last = this.config.totalStep! - tfinal
    if (step > last) {
      this.#mask()
      return
    }
    if (step < last) this.#observe(grads)
    const isDue = step === last || (step > tinit && step % deltaT === 0)
    if (isDue) this.#allot(this.#budget(step, last))
    if (step === last) this.#importance.clear()
  }

  /** The sum of the ranks after a step: it falls with the cube of the time that is left. */
  #budget(step: number, last: number): number {
    const { tinit, targetR } = this.config
    const target = targetR * this.layers.length
    const left = 1 - (step - tinit) / (last - tinit)
    return Math.trunc((this.#directions - target) * left ** 3 + target)
  }

  /** The number of directions that the parameters of all layers hold. */
  get #directions(): number {
    return this.layers.reduce((total, layer) => total + layer.rank(this.adapterName), 0)
  }

  #observe({ parameters, data }: Gradients): void {
    const own = new Set(this.#parameters())
    const { beta1, beta2 } = this.config
    for (const { parameter, offset, size } of parameters.slices) {
      if (!own.has(parameter)) continue
      const { mean, uncertainty } = this.#importanceOf(parameter)
      const values = parameter.data
      for (let i = 0; i < size; i++) {
        const importance = Math.abs(values[i] * data[offset + i])
        mean[i] = beta1 * mean[i] + (1 - beta1) * importance
        uncertainty[i] = beta2 * uncertainty[i] + (1 - beta2) * Math.abs(importance - mean[i])
      }
    }
  }

  #importanceOf(parameter: Parameter): Importance {
    let known = this.#importance.get(parameter)
    if (!known) {
      known = { mean: new Float32Array(parameter.size), uncertainty: new Float32Array(parameter.size) }
      this.#importance.set(parameter, known)
    }
    return known
  }

  /** Keeps the `budget` directions that score highest, of all layers together. */
  #allot(budget: number): void {
    const scores = this.layers.map(layer => this.#scores(layer))
    const sorted = scores.flatMap(values => [...values]).sort((a, b) => a - b)
    const gone = sorted.length - budget
    // What scores as low as the last one that goes, goes too.
    const threshold = gone > 0 ? sorted[gone - 1] : Number.NEGATIVE_INFINITY
    for (const [i, { settings }] of this.layers.entries()) {
      settings[this.adapterName].left = Array.from(scores[i], score => score > threshold)
    }
    this.#mask()
  }

  /** How much each direction of a layer matters: its singular value, and its two vectors on average. */
  #scores(layer: AdaLoraLayer): Float32Array {
    const { a, e, b } = layer.factors(this.adapterName)
    const rank = layer.rank(this.adapterName)
    const [inA, inE, inB] = [a, e, b].map(parameter => {
      const { mean, uncertainty } = this.#importanceOf(parameter)
      return mean.map((value, i) => value * uncertainty[i])
    })
    const scores = inE
    const [width, height] = [a.shape[1], b.shape[0]]
    for (let i = 0; i < rank; i++) {
      let [rowA, columnB] = [0, 0]
      for (let j = 0; j < width; j++) rowA += inA[i * width + j]
      for (let j = 0; j < height; j++) columnB += inB[j * rank + i]
      scores[i] += rowA / width + columnB / height
    }
    return scores
  }

  #mask(): void {
    for (const layer of this.layers) {
      const { data } = layer.factors(this.adapterName).e
      for (const [i, isLeft] of layer.settings[this.adapterName].left.entries()) if (!isLeft) data[i] = 0
    }
  }

  /** The parameters that are watched, in a fixed order. */
  #parameters(): Parameter[] {
    return this.layers.flatMap(layer => Object.values(layer.factors(this.adapterName)))
  }

  state(): AllocatorState {
    return {
      totalStep: this.config.totalStep,
      importance: this.#parameters().map(parameter => {
        const { mean, uncertainty } = this.#importanceOf(parameter)
        return { mean: [...mean], uncertainty: [...uncertainty] }
      }),
      left: this.layers.map(({ settings }) => [...settings[this.adapterName].left]),
    }
  }

  /** @throws when the state is of another adapter */
  loadState(state: unknown): void {
    const { totalStep, importance, left } = (state ?? {}) as Partial<AllocatorState>
    const parameters = this.#parameters()
    const fits =
      importance?.length === parameters.length &&
      left?.length === this.layers.length &&
      parameters.every(({ size }, i) => importance[i].mean.length === size && importance[i].uncertainty.length === size)
    if (!fits) {
      throw new Error(
        `AdaLoRA: the state in the checkpoint does not fit the adapter "${this.adapterName}", which has ${this.layers.length} layers with ${this.#directions} directions; resume with the model that the checkpoint was made with`,
      )
    }
    this.config.totalStep = totalStep ?? null
    this.#importance.clear()
    for (const [i, parameter] of parameters.entries()) {
      const { mean, uncertainty } = importance[i]
      this.#importance.set(parameter, { mean: Float32Array.from(mean), uncertainty: Float32Array.from(uncertainty) })
    }
    for (const [i, { settings }] of this.layers.entries()) settings[this.adapterName].left = [...left[i]]
  }
}
