/** @file One training from its first step to its last. */
import { type Gradients, ParameterVector } from '../nn/index.ts'
import { hostOf } from '../peft/hosts.ts'
import { PeftModel } from '../peft/index.ts'
import type { Engine } from '../runtime/index.ts'
import type { TrainingArguments } from './arguments.ts'
import { BestModel } from './best-model.ts'
import type {
  EvaluationLog,
  PreparationReport,
  StepReport,
  TrainerCallback,
  TrainerControl,
  TrainerEvents,
  TrainerState,
  TrainingLog,
} from './callbacks.ts'
import { type Batch, countTargets, countTokens, type DataCollator } from './collate.ts'
import { NonFiniteError, TrainingInterrupted } from './errors.ts'
import type { Evaluator } from './evaluation.ts'
import { type Examples, rowOf } from './examples.ts'
import { clipGradNorm, GradientSum } from './gradient.ts'
import { skipsFirstLabel, type TrainableModel, type TrainingTask } from './model.ts'
import { createOptimizer } from './optimizers/create.ts'
import type { Optimizer } from './optimizers/optimizer.ts'
import type { OutputFolder } from './output-folder.ts'
import { prepareAdapters } from './prepare.ts'
import { getScheduler, type Schedule } from './schedules.ts'
import { StepPlan } from './steps.ts'
import { type StepFunction, valueAndGrad } from './value-and-grad.ts'

/** What a training gave. */
export interface TrainResult {
  /** Finished optimizer steps. */
  globalStep: number
  /** The mean loss over all steps. */
  trainingLoss: number
  /** The last evaluation; with `loadBestModelAtEnd` the best one. Empty where nothing was evaluated. */
  metrics: Record<string, number>
  /** All logs and evaluations in order. */
  history: (TrainingLog | EvaluationLog)[]
  /** Seconds a step, evaluations left out; the first step, which compiles, is left out where there are more. */
  secondsPerStep: number
  /** Tokens a second, padding left out, over the same steps; 0 where batches have no attention mask. */
  tokensPerSecond: number
  /** Whether a callback ended it early. */
  stopped: boolean
  /** The best value of `metricForBestModel` and the step it came after. */
  bestMetric: number | undefined
  bestStep: number | undefined
}

/** What a {@link TrainingRun} is made of. */
export interface RunOptions<E> {
  model: TrainableModel
  args: TrainingArguments
  train: Examples<E>
  collate: DataCollator<E>
  task: TrainingTask | undefined
  /** Evaluates the evaluation data with the values of `vector`. */
  evaluation: { evaluator(vector: ParameterVector): Evaluator<E>; examples: Examples<E> } | undefined
  output: OutputFolder | undefined
  callbacks: readonly TrainerCallback<TrainResult>[]
  engine: Engine | undefined
  signal: AbortSignal | undefined
}

/** The sums that logs and the result are made of. */
interface Tally {
  steps: number
  loss: number
  tokens: number
  seconds: number
}

const initialState = ({ maxSteps }: StepPlan): TrainerState => ({
  step: 0,
  epoch: 0,
  maxSteps,
  bestMetric: undefined,
  bestStep: undefined,
  savedStep: undefined,
  history: [],
})

/** Lets adapters whose method wants it look at the training data, in the order of its first pass. */
async function prepare<E>(
  { model, args, train, collate, engine, signal }: RunOptions<E>,
  plan: StepPlan,
): Promise<PreparationReport | undefined> {
  const peft = model instanceof PeftModel ? model : hostOf(model)
  if (!peft) return undefined
  function* batches() {
    for (const rows of plan.epoch(0).flat()) yield collate(rows.map(i => train.items[i]))
  }
  const started = performance.now()
  const { mode, threads } = args
  const inputs = model.inputSpecs()
  const adapters = await prepareAdapters(peft, batches(), { inputs, mode, threads, engine, signal }).catch(error => {
    throw signal?.aborted ? new TrainingInterrupted(initialState(plan), signal.reason, 'nothing was saved.') : error
  })
  return adapters.length ? { adapters, seconds: (performance.now() - started) / 1000 } : undefined
}

const emptyTally = (): Tally => ({ steps: 0, loss: 0, tokens: 0, seconds: 0 })

/** One training: the loop over steps, with what happens between them. */
export class TrainingRun<E> {
  readonly #options: RunOptions<E>
  readonly #plan: StepPlan
  readonly #vector: ParameterVector
  readonly #step: StepFunction
  readonly #optimizer: Optimizer
  readonly #schedule: Schedule
  readonly #best: BestModel
  readonly #evaluator: Evaluator<E> | undefined
  readonly #state: TrainerState
  readonly #control: TrainerControl
  readonly #total = emptyTally()
  readonly #steady = emptyTally()
  #sinceLog = emptyTally()
  #lastReport: StepReport | undefined
  #metrics: Record<string, number> = {}
  #evaluatedStep: number | undefined

  private constructor(options: RunOptions<E>, plan: StepPlan, vector: ParameterVector, step: StepFunction) {
    const { args, model } = options
    this.#options = options
    this.#plan = plan
    this.#vector = vector
    this.#step = step
    this.#optimizer = createOptimizer(args, vector, model)
    this.#schedule = getScheduler(args.lrSchedulerType, {
      numWarmupSteps: args.getWarmupSteps(plan.maxSteps),
      numTrainingSteps: plan.maxSteps,
    })
    this.#best = new BestModel(args, vector)
    this.#evaluator = options.evaluation?.evaluator(vector)
    this.#state = initialState(plan)
    this.#control = { shouldTrainingStop: false, state: this.#state }
  }

  /** Trains. Whatever was compiled is freed at the end, however it ends. */
  static async run<E>(options: RunOptions<E>): Promise<TrainResult> {
    const { model, args, engine } = options
    const plan = new StepPlan(options.train.items, args)
    model.initialize(args.seed)
    const preparation = await prepare(options, plan)
    const trainable = [...model.namedParameters()].filter(([, parameter]) => parameter.requiresGrad)
    if (trainable.length === 0) {
      throw new Error(
        'There is nothing to train: no parameter has requiresGrad. Add an adapter, or choose with setTrainable.',
      )
    }
    const vector = await ParameterVector.load(trainable)
    const step = await valueAndGrad(
      model,
      (_, inputs) => {
        const { loss } = model.forward(inputs)
        if (!loss) throw new Error("The model's forward returned no loss: give the examples labels")
        return loss
      },
      { inputs: model.inputSpecs(), parameters: vector, mode: args.mode, threads: args.threads, engine },
    )
    const run = new TrainingRun(options, plan, vector, step)
    try {
      if (preparation) await run.#call('onPrepare', preparation)
      return await run.#train()
    } finally {
      await step.dispose()
      await run.#evaluator?.dispose()
    }
  }

  async #train(): Promise<TrainResult> {
    const { args } = this.#options
    this.#optimizer.beforeTraining({ totalSteps: this.#plan.maxSteps })
    await this.#call('onTrainBegin', this.#state)
    for (let epoch = 0; !this.#finished; epoch++) {
      const steps = this.#plan.epoch(epoch)
      for (const [i, rows] of steps.entries()) {
        if (this.#finished) break
        await this.#takeStep(rows, epoch + (i + 1) / steps.length)
        await this.#afterStep(this.#lastReport!)
      }
      const { step } = this.#state
      await this.#call('onEpochEnd', { step, epoch: this.#state.epoch })
      if (args.evalStrategy === 'epoch') await this.#evaluate()
      if (args.saveStrategy === 'epoch' && step > 0) await this.#save(step)
    }
    return this.#finish()
  }

  get #finished(): boolean {
    return this.#control.shouldTrainingStop || this.#state.step >= this.#plan.maxSteps
  }

  /** One optimizer step on the examples that `batches` names; after it `epoch` passes over the data are done. */
  async #takeStep(batches: readonly number[][], epoch: number): Promise<void> {
    const { args, train, collate } = this.#options
    const started = performance.now()
    const passes = batches.map(at => collate(at.map(i => train.items[i])))
    const { loss, grads } = await this.#gradients(passes, batches)
    const norm = args.maxGradNorm > 0 ? clipGradNorm(grads, args.maxGradNorm) : grads.norm()
    if (!Number.isFinite(norm)) {
      throw this.#nonFinite(`the gradient has the norm ${norm}${firstNonFinite(grads)}`, batches.flat())
    }

    const learningRate = args.learningRate * this.#schedule(this.#state.step)
    this.#optimizer.lr = learningRate
    this.#optimizer.step(grads)

    this.#state.step++
    this.#state.epoch = epoch
    const seconds = (performance.now() - started) / 1000
    const tokens = passes.reduce((sum, batch) => sum + countTokens(batch), 0)
    const { step, maxSteps } = this.#state
    this.#lastReport = { step, epoch, maxSteps, loss, learningRate, gradNorm: norm, tokens, seconds }
    for (const tally of [this.#total, this.#sinceLog, ...(step > 1 ? [this.#steady] : [])]) {
      tally.steps++
      tally.loss += loss
      tally.tokens += tokens
      tally.seconds += seconds
    }
  }

  /**
   * The loss and gradients of several passes as of one: the mean over all their targets. As in Transformers 5 a pass
   * with more targets weighs more, so that the result does not depend on how a batch was cut.
   */
  async #gradients(
    passes: readonly Batch[],
    batches: readonly number[][],
  ): Promise<{ loss: number; grads: Gradients }> {
    const { model, signal, task } = this.#options
    const counts = passes.map(batch => countTargets(batch, skipsFirstLabel(model, task)))
    const targets = counts.reduce((a, b) => a + b, 0)
    const sum = new GradientSum()
    let loss = 0
    for (const [i, batch] of passes.entries()) {
      if (signal?.aborted) throw this.#interrupted(signal)
      const { value, grads } = await this.#step(batch, { seed: this.#plan.passSeed(this.#state.step, i) })
      if (!Number.isFinite(value)) throw this.#nonFinite(`the loss is ${value}`, batches[i])
      const weight = targets === 0 ? 1 / passes.length : counts[i] / targets
      loss += weight * value
      sum.add(grads, weight)
    }
    return { loss, grads: sum.total }
  }

  async #afterStep(report: StepReport): Promise<void> {
    const { args } = this.#options
    await this.#call('onStepEnd', report)
    if (report.step % args.loggingSteps === 0 || this.#finished) await this.#log()
    if (args.evalStrategy !== 'steps') return
    if (report.step % args.evalSteps! === 0 || this.#finished) await this.#evaluate()
  }

  async #log(): Promise<void> {
    const { step, epoch, learningRate, gradNorm } = this.#lastReport!
    const { steps, loss, tokens, seconds } = this.#sinceLog
    this.#sinceLog = emptyTally()
    const log: TrainingLog = {
      step,
      epoch,
      loss: loss / steps,
      learning_rate: learningRate,
      grad_norm: gradNorm,
      tokens_per_second: tokens / seconds,
    }
    this.#state.history.push(log)
    await this.#call('onLog', log)
  }

  async #evaluate(): Promise<void> {
    const { evaluation, signal, args } = this.#options
    const { step, epoch } = this.#state
    if (!evaluation || !this.#evaluator || this.#evaluatedStep === step) return
    this.#evaluatedStep = step
    if (signal?.aborted) throw this.#interrupted(signal)
    let metrics: Record<string, number>
    try {
      metrics = withPrefix('eval_', (await this.#evaluator.run(evaluation.examples, { signal })).metrics)
    } catch (error) {
      throw signal?.aborted ? this.#interrupted(signal) : error
    }
    const log: EvaluationLog = { step, epoch, ...metrics }
    this.#state.history.push(log)
    const isBest = this.#best.consider(log, this.#state)
    if (isBest || !args.loadBestModelAtEnd) this.#metrics = metrics
    await this.#call('onEvaluate', log)
    if (isBest && args.saveStrategy === 'best') await this.#save(step)
  }

  /** Writes the output folder; `step` is the one whose values the model holds. */
  async #save(step: number): Promise<void> {
    const { output, model } = this.#options
    if (!output || this.#state.savedStep === step) return
    if (!this.#vector.data.every(Number.isFinite)) {
      throw this.#nonFinite('the last step made values that are not finite, which are not saved', [])
    }
    await output.write(folder => model.savePretrained(folder))
    this.#state.savedStep = step
    await this.#call('onSave', { step, folder: output.path })
  }

  async #finish(): Promise<TrainResult> {
    const { args, signal } = this.#options
    if (signal?.aborted) throw this.#interrupted(signal)
    if (this.#sinceLog.steps > 0) await this.#log()
    const { step, history, bestMetric, bestStep } = this.#state
    const restored = args.loadBestModelAtEnd && this.#best.restore()
    const holds = restored ? bestStep! : step
    // 'best' has written the best already, unless there was none.
    if (args.saveStrategy !== 'best' || this.#state.savedStep === undefined) await this.#save(holds)
    const timed = this.#steady.steps > 0 ? this.#steady : this.#total
    const result: TrainResult = {
      globalStep: step,
      trainingLoss: this.#total.steps === 0 ? 0 : this.#total.loss / this.#total.steps,
      metrics: this.#metrics,
      history,
      secondsPerStep: timed.steps === 0 ? 0 : timed.seconds / timed.steps,
      tokensPerSecond: timed.seconds === 0 ? 0 : timed.tokens / timed.seconds,
      stopped: step < this.#plan.maxSteps,
      bestMetric,
      bestStep,
    }
    await this.#call('onTrainEnd', result)
    return result
  }

  async #call<Name extends keyof TrainerEvents<TrainResult>>(
    name: Name,
    event: TrainerEvents<TrainResult>[Name],
  ): Promise<void> {
    for (const callback of this.#options.callbacks) await callback[name]?.(event, this.#control)
  }

  #interrupted(signal: AbortSignal): TrainingInterrupted {
    return new TrainingInterrupted(this.#state, signal.reason, this.#whatIsSaved())
  }

  #nonFinite(problem: string, at: readonly number[]): NonFiniteError {
    const { args, train } = this.#options
    const step = this.#state.step + 1
    const rate = args.learningRate * this.#schedule(this.#state.step)
    const rows = at.slice(0, 16).map(i => rowOf(train, i))
    const more = at.length > rows.length ? `, and ${at.length - rows.length} more` : ''
    return new NonFiniteError(
      step,
      `Step ${step} of ${this.#plan.maxSteps}: ${problem} (learning rate ${rate}${rows.length ? `, rows ${rows.join(', ')}${more} of the ${train.name}` : ''}). ` +
        `The parameters are as before this step; ${this.#whatIsSaved()} Ways out: a lower learningRate (now ` +
        `${args.learningRate}), a warm-up (warmupSteps), a smaller maxGradNorm (now ${args.maxGradNorm || 'off'}), and a look ` +
        'at these rows and at the base weights, which may hold such values themselves.',
    )
  }

  #whatIsSaved(): string {
    const { savedStep } = this.#state
    if (savedStep === undefined) return 'nothing was saved.'
    return `${this.#options.output!.path} holds the complete model of step ${savedStep}.`
  }
}

/** Where the first value that is not finite stands, for messages. */
function firstNonFinite({ parameters, data }: Gradients): string {
  const at = data.findIndex(value => !Number.isFinite(value))
  const slice = parameters.slices.find(({ offset, size }) => at >= offset && at < offset + size)
  return slice ? `, first at "${slice.name}"` : ''
}

/** The same metrics under names that begin with `prefix`. */
export function withPrefix(prefix: string, metrics: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(metrics).map(([name, value]) => [`${prefix}${name}`, value]))
}
