/** @file One training from its first step to its last. */
import type { SymbolicInputs } from '../models/function.ts'
import { type Gradients, ParameterVector } from '../nn/index.ts'
import { hostOf } from '../peft/hosts.ts'
import { PeftModel } from '../peft/index.ts'
import type { Engine } from '../runtime/index.ts'
import { type KeptActivations, keepActivations } from './activations/keep.ts'
import type { StepOptions } from './activations/prefix.ts'
import { Anomalies, type Anomaly } from './anomalies.ts'
import type { TrainingArguments } from './arguments.ts'
import { BestModel } from './best-model.ts'
import {
  type ActivationReport,
  EarlyStoppingCallback,
  type EvaluationLog,
  type EventCallbacks,
  type PreparationReport,
  type StepReport,
  type TrainerCallback,
  type TrainerControl,
  type TrainerEvents,
  type TrainerState,
  type TrainingLog,
} from './callbacks.ts'
import type { Checkpoint, CheckpointReason } from './checkpoints.ts'
import { type Batch, countTargets, countTokens, type DataCollator, type PaddingOptions } from './collate.ts'
import { diskAdvice } from './disk-advice.ts'
import { CheckpointError, LossSpikeError, NonFiniteError, TrainingInterrupted } from './errors.ts'
import type { Evaluator, Predictions } from './evaluation.ts'
import { type Examples, rowOf } from './examples.ts'
import { clipGradNorm, GradientSum } from './gradient.ts'
import { lossOf, skipsFirstLabel, type TrainableModel, type TrainingTask } from './model.ts'
import { createOptimizer } from './optimizers/create.ts'
import type { Optimizer } from './optimizers/optimizer.ts'
import type { OutputFolder } from './output-folder.ts'
import { mayPack, passCollator } from './packing.ts'
import { prepareAdapters } from './prepare.ts'
import { type Progress, RunCheckpoints } from './run-checkpoints.ts'
import { getScheduler, type Schedule } from './schedules.ts'
import { StepBatches } from './step-batches.ts'
import { StepPlan } from './steps.ts'
import { emptyTally, type Tally } from './trainer-state.ts'
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
  /** Where it paused: the checkpoint that it can go on from. Then it has not ended, and no model was saved. */
  pausedAt: string | undefined
  /** Steps that were skipped or backed off from, since their loss or gradient was bad. */
  badSteps: number
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
  /** How `collate` fills rows up; undefined where it is the caller's own. */
  padding: PaddingOptions | undefined
  task: TrainingTask | undefined
  /** Evaluates the evaluation data with the values of `vector`. */
  evaluation: { evaluator(vector: ParameterVector): Evaluator<E>; examples: Examples<E> } | undefined
  output: OutputFolder | undefined
  /** Writes the model, or its adapter, and what goes with it. */
  saveModel(folder: string): Promise<unknown>
  /** The checkpoint to go on from. */
  resume: Checkpoint | undefined
  callbacks: readonly TrainerCallback<TrainResult>[]
  engine: Engine | undefined
  /** Ends it. */
  signal: AbortSignal | undefined
  /** Pauses it. */
  pauseSignal: AbortSignal | undefined
  /** Takes what the user should know and does not prevent training. */
  onWarning(message: string): void
}

/** Ends the loop over the steps so that the training pauses. */
const PAUSE = Symbol('pause')

const initialState = ({ maxSteps }: StepPlan): TrainerState => ({
  step: 0,
  epoch: 0,
  maxSteps,
  bestMetric: undefined,
  bestStep: undefined,
  savedStep: undefined,
  history: [],
})

/** Aborted when the training shall end or pause. */
function anySignal({ signal, pauseSignal }: { signal?: AbortSignal; pauseSignal?: AbortSignal }): AbortSignal {
  return AbortSignal.any([signal, pauseSignal].filter(given => given !== undefined))
}

/** Lets adapters whose method wants it look at the training data, in the order of its first pass. */
async function prepare<E>(
  { model, args, train, collate, engine, ...signals }: RunOptions<E>,
  plan: StepPlan,
): Promise<PreparationReport | undefined> {
  const peft = model instanceof PeftModel ? model : hostOf(model)
  if (!peft) return undefined
  function* batches() {
    for (const rows of plan.epoch(0).flat()) yield collate(rows.map(i => train.items[i]))
  }
  const started = performance.now()
  const { mode, threads, keepPacked } = args
  const signal = anySignal(signals)
  const inputs = model.inputSpecs()
  // A model of one's own around the one with adapters has inputs and a loss of its own.
  const loss = model === peft ? undefined : (_: unknown, batch: SymbolicInputs) => lossOf(model, batch)
  const { comparesRows } = model
  const how = { inputs, mode, threads, keepPacked, engine, signal, loss, comparesRows }
  const adapters = await prepareAdapters(peft, batches(), how).catch(error => {
    throw signal.aborted ? new TrainingInterrupted(initialState(plan), signal.reason, 'nothing was saved.') : error
  })
  return adapters.length ? { adapters, seconds: (performance.now() - started) / 1000 } : undefined
}

/** Keeps what frozen layers compute, where that pays. */
async function keep<E>(
  options: RunOptions<E>,
  made: { plan: StepPlan; vector: ParameterVector; collate: DataCollator<E>; how: StepOptions },
): Promise<KeptActivations | undefined> {
  const { model, args, train, collate, padding, output, onWarning } = options
  const signal = anySignal(options)
  return keepActivations({
    ...made,
    ...{ model, args, onWarning, signal },
    items: train.items,
    isPacked: made.collate !== collate,
    isOwnCollator: padding === undefined,
    folder: output?.path,
  }).catch(error => {
    if (!signal.aborted) throw error
    throw new TrainingInterrupted(initialState(made.plan), signal.reason, 'nothing was saved by this run.')
  })
}

/** One training: the loop over steps, with what happens between them. */
export class TrainingRun<E> {
  readonly #options: RunOptions<E>
  readonly #plan: StepPlan
  readonly #batches: StepBatches
  readonly #vector: ParameterVector
  readonly #step: StepFunction
  readonly #optimizer: Optimizer
  readonly #schedule: Schedule
  readonly #best: BestModel
  readonly #evaluator: Evaluator<E> | undefined
  readonly #anomalies: Anomalies
  readonly #progress: Progress
  readonly #control: TrainerControl
  readonly #callbacks: readonly TrainerCallback<TrainResult>[]
  readonly #checkpoints: RunCheckpoints | undefined

  private constructor(
    options: RunOptions<E>,
    plan: StepPlan,
    batches: StepBatches,
    vector: ParameterVector,
    step: StepFunction,
    kept: ActivationReport | undefined,
  ) {
    const { args, model, output, evaluation } = options
    this.#options = options
    this.#plan = plan
    this.#batches = batches
    this.#vector = vector
    this.#step = step
    this.#optimizer = createOptimizer(args, vector, model)
    this.#schedule = getScheduler(args.lrSchedulerType, {
      numWarmupSteps: args.getWarmupSteps(plan.maxSteps),
      numTrainingSteps: plan.maxSteps,
    })
    this.#best = new BestModel(args, vector)
    this.#evaluator = evaluation?.evaluator(vector)
    this.#anomalies = new Anomalies(args)
    const state = initialState(plan)
    this.#progress = {
      state,
      epochIndex: 0,
      stepInEpoch: 0,
      learningRate: 0,
      gradNorm: 0,
      evaluatedStep: undefined,
      metrics: {},
      tallies: { total: emptyTally(), steady: emptyTally(), sinceLog: emptyTally() },
    }
    this.#control = { shouldTrainingStop: false, shouldSave: false, shouldPause: false, state, args }
    const { earlyStoppingPatience, earlyStoppingThreshold } = args
    const stopping =
      earlyStoppingPatience === undefined
        ? []
        : [new EarlyStoppingCallback({ earlyStoppingPatience, earlyStoppingThreshold })]
    this.#callbacks = [...options.callbacks, ...stopping]
    this.#checkpoints =
      output &&
      new RunCheckpoints({
        ...options,
        output,
        evaluation: evaluation?.examples,
        keepsActivations: kept !== undefined,
        vector,
        optimizer: this.#optimizer,
        best: this.#best,
        anomalies: this.#anomalies,
        callbacks: this.#callbacks,
        control: this.#control,
        progress: this.#progress,
      })
  }

  /** Trains. Whatever was compiled is freed at the end, however it ends. */
  static async run<E>(options: RunOptions<E>): Promise<TrainResult> {
    const { model, args, engine } = options
    const { items } = options.train
    const plan = new StepPlan(items, args, args.groupByLength && !mayPack(options))
    const collate = passCollator(options, plan)
    model.initialize(args.seed)
    const preparation = await prepare(options, plan)
    const trainable = [...model.namedParameters()].filter(([, parameter]) => parameter.requiresGrad)
    if (trainable.length === 0) {
      throw new Error(
        'There is nothing to train: no parameter has requiresGrad. Add an adapter, or choose with setTrainable.',
      )
    }
    const vector = await ParameterVector.load(trainable)
    const { mode, gradientCheckpointing, threads, keepPacked, quantizedProducts } = args
    const how = { mode, gradientCheckpointing, threads, keepPacked, quantizedProducts, engine }
    const kept = await keep(options, { plan, vector, collate, how })
    const step =
      kept?.step ??
      (await valueAndGrad(model, (_, inputs) => lossOf(model, inputs), {
        inputs: model.inputSpecs(),
        parameters: vector,
        ...how,
      }))
    const batches = new StepBatches(at => kept?.batch(at) ?? collate(at.map(i => items[i])))
    const run = new TrainingRun(options, plan, batches, vector, step, kept?.report)
    try {
      if (preparation) await run.#call('onPrepare', preparation)
      if (kept) await run.#call('onActivationsKept', kept.report)
      return await run.#train()
    } catch (error) {
      // What went wrong first is what the caller has to know.
      await run.#call('onTrainError', { step: run.#state.step, error }).catch(() => {})
      throw error
    } finally {
      batches.cancel()
      await (kept ?? step).dispose()
      await run.#evaluator?.dispose()
    }
  }

  get #state(): TrainerState {
    return this.#progress.state
  }

  async #train(): Promise<TrainResult> {
    const { resume } = this.#options
    this.#optimizer.beforeTraining({ totalSteps: this.#plan.maxSteps })
    await this.#checkpoints?.begin()
    if (resume) await this.#restore(resume)
    await this.#call('onTrainBegin', this.#state)
    if (resume) {
      await this.#checkpoints!.restoreCallbacks(resume)
      await this.#call('onResume', { step: resume.step, folder: resume.folder })
    }
    try {
      await this.#loop()
      return await this.#finish()
    } catch (error) {
      if (error !== PAUSE) throw error
      return this.#pause()
    }
  }

  async #restore(checkpoint: Checkpoint): Promise<void> {
    const minor = await this.#checkpoints!.check(checkpoint)
    if (minor.length) {
      this.#options.onWarning(
        `Resuming with other settings of the engine (${minor.join('; ')}): results may differ in the last bits from those of an uninterrupted training.`,
      )
    }
    await this.#checkpoints!.restore(checkpoint)
  }

  async #loop(): Promise<void> {
    const progress = this.#progress
    this.#pauseIfAsked()
    // A checkpoint may have been written before everything of its step was done.
    if (this.#state.step > 0) await this.#stepDuties()
    while (!this.#finished || progress.stepInEpoch > 0) {
      const steps = this.#plan.epoch(progress.epochIndex)
      while (progress.stepInEpoch < steps.length && !this.#finished) {
        const i = progress.stepInEpoch
        const report = await this.#takeStep(steps[i], progress.epochIndex + (i + 1) / steps.length, steps[i + 1])
        progress.stepInEpoch++
        if (report) await this.#call('onStepEnd', report)
        if (this.#state.step % this.#options.args.loggingSteps === 0 || this.#finished) await this.#log()
        await this.#stepDuties()
        if (!this.#finished) this.#pauseIfAsked()
      }
      await this.#endEpoch()
      if (!this.#finished) this.#pauseIfAsked()
    }
  }

  get #finished(): boolean {
    return this.#control.shouldTrainingStop || this.#state.step >= this.#plan.maxSteps
  }

  #pauseIfAsked(): void {
    if (this.#options.signal?.aborted) return
    if (this.#control.shouldPause || this.#options.pauseSignal?.aborted) throw PAUSE
  }

  /** What is due after a step, as far as it was not done. */
  async #stepDuties(): Promise<void> {
    const { args } = this.#options
    const { step } = this.#state
    if (args.evalStrategy === 'steps' && (step % args.evalSteps! === 0 || this.#finished)) await this.#evaluate()
    const isDue = args.saveStrategy === 'steps' && step % args.saveSteps === 0
    if (isDue || this.#control.shouldSave) await this.#saveCheckpoint(isDue ? 'schedule' : 'asked')
    this.#control.shouldSave = false
  }

  async #endEpoch(): Promise<void> {
    const { args } = this.#options
    const { step, epoch } = this.#state
    await this.#call('onEpochEnd', { step, epoch })
    if (args.evalStrategy === 'epoch') await this.#evaluate()
    this.#progress.epochIndex++
    this.#progress.stepInEpoch = 0
    if (args.saveStrategy === 'epoch' && step > 0) await this.#saveCheckpoint('schedule')
  }

  /**
   * One optimizer step on the examples that `batches` names; after it `epoch` passes over the data are done. Gives no
   * report of a bad step that was skipped or backed off from.
   *
   * @param next the examples of the step behind it, which are made batches meanwhile
   */
  async #takeStep(
    batches: readonly number[][],
    epoch: number,
    next: readonly number[][] | undefined,
  ): Promise<StepReport | undefined> {
    const { args } = this.#options
    const started = performance.now()
    const passes = this.#batches.take(batches)
    const found = await this.#gradients(passes, batches, next)
    if ('problem' in found) return this.#dealWith(found, epoch)
    const { loss, grads } = found
    const norm = args.maxGradNorm > 0 ? clipGradNorm(grads, args.maxGradNorm) : grads.norm()
    const problem = Number.isFinite(norm) ? this.#anomalies.spike(loss) : undefined
    if (problem !== undefined || !Number.isFinite(norm)) {
      const reason = problem === undefined ? 'non-finite' : 'spike'
      const told = problem ?? `the gradient has the norm ${norm}${firstNonFinite(grads)}`
      return this.#dealWith({ reason, problem: told, loss, examples: batches.flat() }, epoch)
    }

    const learningRate = this.#rate()
    this.#anomalies.passed(this.#state.step, loss, this.#vector, this.#optimizer)
    this.#optimizer.lr = learningRate
    this.#optimizer.step(grads)

    this.#state.step++
    this.#state.epoch = epoch
    Object.assign(this.#progress, { learningRate, gradNorm: norm })
    const seconds = (performance.now() - started) / 1000
    const tokens = passes.reduce((sum, batch) => sum + countTokens(batch), 0)
    const { step, maxSteps } = this.#state
    const { total, sinceLog, steady } = this.#progress.tallies
    for (const tally of [total, sinceLog, ...(step > 1 ? [steady] : [])]) {
      tally.steps++
      tally.loss += loss
      tally.tokens += tokens
      tally.seconds += seconds
    }
    return { step, epoch, maxSteps, loss, learningRate, gradNorm: norm, tokens, seconds }
  }

  /** The learning rate of the next step. */
  #rate(): number {
    return this.#options.args.learningRate * this.#schedule(this.#state.step) * this.#anomalies.rateFactor
  }

  /** Skips a bad step, backs off from it, or throws, as the arguments say. */
  async #dealWith(anomaly: Anomaly, epoch: number): Promise<undefined> {
    const anomalies = this.#anomalies
    const policy = anomalies.policyFor(anomaly)
    if (policy === 'stop') throw this.#badStep(anomaly)
    anomalies.inARow++
    anomalies.total++
    const { maxBadSteps } = this.#options.args
    if (anomalies.inARow > maxBadSteps) {
      throw this.#badStep(
        anomaly,
        ` It is the ${anomalies.inARow}th bad step in a row, and maxBadSteps is ${maxBadSteps}.`,
      )
    }
    const restoredStep = policy === 'backoff' ? anomalies.backOff(this.#vector, this.#optimizer) : undefined
    // The step counts, so that what comes next does not depend on how this one went.
    this.#state.step++
    this.#state.epoch = epoch
    const { step, maxSteps } = this.#state
    const { reason, problem, loss } = anomaly
    const { rateFactor, inARow, total } = anomalies
    const what = { reason, problem, loss, action: policy, restoredStep, rateFactor, inARow, total }
    await this.#call('onSkip', { step, epoch, maxSteps, ...what })
  }

  /**
   * The loss and gradients of several passes as of one: the mean over all their targets. As in Transformers 5 a pass
   * with more targets weighs more, so that the result does not depend on how a batch was cut.
   */
  async #gradients(
    passes: readonly Batch[],
    batches: readonly number[][],
    next: readonly number[][] | undefined,
  ): Promise<{ loss: number; grads: Gradients } | Anomaly> {
    const { model, signal, task } = this.#options
    const counts = passes.map(batch => countTargets(batch, skipsFirstLabel(model, task)))
    const targets = counts.reduce((a, b) => a + b, 0)
    const sum = new GradientSum()
    let loss = 0
    for (const [i, batch] of passes.entries()) {
      if (signal?.aborted) throw this.#interrupted(signal)
      const running = this.#step(batch, { seed: this.#plan.passSeed(this.#state.step, i) })
      if (next && i === passes.length - 1) this.#batches.prepare(next)
      const { value, grads } = await running
      if (!Number.isFinite(value)) {
        return { reason: 'non-finite', problem: `the loss is ${value}`, loss: value, examples: batches[i] }
      }
      const weight = targets === 0 ? 1 / passes.length : counts[i] / targets
      loss += weight * value
      sum.add(grads, weight)
    }
    return { loss, grads: sum.total }
  }

  async #log(): Promise<void> {
    const { state, learningRate, gradNorm, tallies } = this.#progress
    const { steps, loss, tokens, seconds } = tallies.sinceLog
    // All steps since the last log were bad ones.
    if (steps === 0) return
    tallies.sinceLog = emptyTally()
    const log: TrainingLog = {
      step: state.step,
      epoch: state.epoch,
      loss: loss / steps,
      learning_rate: learningRate,
      grad_norm: gradNorm,
      tokens_per_second: tokens / seconds,
    }
    state.history.push(log)
    await this.#call('onLog', log)
  }

  async #evaluate(): Promise<void> {
    const { evaluation, signal, pauseSignal, args } = this.#options
    const { step, epoch } = this.#state
    if (!evaluation || !this.#evaluator || this.#progress.evaluatedStep === step) return
    if (signal?.aborted) throw this.#interrupted(signal)
    let metrics: Record<string, number>
    let predictions: Predictions
    try {
      const { metrics: unprefixed, ...scores } = await this.#evaluator.run(evaluation.examples, {
        signal: AbortSignal.any([signal, pauseSignal].filter(given => given !== undefined)),
      })
      metrics = withPrefix('eval_', unprefixed)
      predictions = scores
    } catch (error) {
      if (signal?.aborted) throw this.#interrupted(signal)
      // A pause does not wait for the evaluation: it is made when the training goes on.
      throw pauseSignal?.aborted ? PAUSE : error
    }
    this.#progress.evaluatedStep = step
    const log: EvaluationLog = { step, epoch, ...metrics }
    this.#state.history.push(log)
    if (predictions.logits.length) await this.#call('onPredict', { step, ...predictions })
    const isBest = this.#best.consider(log, this.#state)
    if (isBest || !args.loadBestModelAtEnd) this.#progress.metrics = metrics
    await this.#call('onEvaluate', log)
    if (isBest && args.saveStrategy === 'best') await this.#save(step)
  }

  /** Writes the output folder; `step` is the one whose values the model holds. */
  async #save(step: number): Promise<void> {
    const { output, saveModel } = this.#options
    if (!output || this.#state.savedStep === step) return
    if (!this.#vector.data.every(Number.isFinite)) {
      throw this.#nonFinite('the last step made values that are not finite, which are not saved', [])
    }
    await this.#checkpoints?.requireSameBase()
    try {
      await output.write(saveModel)
    } catch (cause) {
      const advice = [(cause as Error).message, diskAdvice(cause), this.#whatGoesOn()].filter(Boolean)
      throw new CheckpointError(advice.join(' '), { cause })
    }
    this.#state.savedStep = step
    await this.#call('onSave', { step, folder: output.path })
  }

  async #saveCheckpoint(reason: CheckpointReason): Promise<void> {
    const folder = await this.#checkpoints?.save(reason)
    if (folder !== undefined) await this.#call('onSave', { step: this.#state.step, folder })
  }

  /** Writes the checkpoint that the training can go on from. */
  async #pause(): Promise<TrainResult> {
    const { pauseSignal } = this.#options
    const { step } = this.#state
    if (!this.#checkpoints || step === 0) {
      throw new TrainingInterrupted(this.#state, pauseSignal?.reason ?? 'paused', this.#whatIsSaved())
    }
    await this.#saveCheckpoint('pause')
    const folder = this.#checkpoints.lastFolder!
    await this.#call('onPause', { step, folder })
    return this.#result(folder)
  }

  async #finish(): Promise<TrainResult> {
    const { args, signal } = this.#options
    if (signal?.aborted) throw this.#interrupted(signal)
    await this.#log()
    const { step, bestStep } = this.#state
    const restored = args.loadBestModelAtEnd && this.#best.restore()
    const holds = restored ? bestStep! : step
    // 'best' has written the best already, unless there was none.
    if (args.saveStrategy !== 'best' || this.#state.savedStep === undefined) await this.#save(holds)
    await this.#checkpoints?.finish()
    const result = this.#result(undefined)
    await this.#call('onTrainEnd', result)
    return result
  }

  #result(pausedAt: string | undefined): TrainResult {
    const { state, metrics, tallies } = this.#progress
    const { step, history, bestMetric, bestStep } = state
    const { total, steady } = tallies
    const timed: Tally = steady.steps > 0 ? steady : total
    return {
      globalStep: step,
      trainingLoss: total.steps === 0 ? 0 : total.loss / total.steps,
      metrics,
      history,
      secondsPerStep: timed.steps === 0 ? 0 : timed.seconds / timed.steps,
      tokensPerSecond: timed.seconds === 0 ? 0 : timed.tokens / timed.seconds,
      stopped: pausedAt === undefined && step < this.#plan.maxSteps,
      pausedAt,
      badSteps: this.#anomalies.total,
      bestMetric,
      bestStep,
    }
  }

  async #call<Name extends keyof TrainerEvents<TrainResult>>(
    name: Name,
    event: TrainerEvents<TrainResult>[Name],
  ): Promise<void> {
    const callbacks: readonly EventCallbacks<TrainResult>[] = this.#callbacks
    for (const callback of callbacks) await callback[name]?.(event, this.#control)
  }

  #interrupted(signal: AbortSignal): TrainingInterrupted {
    return new TrainingInterrupted(this.#state, signal.reason, this.#whatIsSaved())
  }

  /** The error that ends a training at a bad step. */
  #badStep({ reason, problem, examples }: Anomaly, more = ''): Error {
    if (reason === 'non-finite') return this.#nonFinite(problem, examples, more)
    const step = this.#state.step + 1
    return new LossSpikeError(
      step,
      `${this.#where(problem, examples)}${more} The parameters are as before this step; ${this.#whatIsSaved()} Ways out: ` +
        "onSpike: 'skip' or 'backoff', a lower learningRate, a larger spikeFactor, and a look at these rows.",
    )
  }

  #nonFinite(problem: string, at: readonly number[], more = ''): NonFiniteError {
    const { args } = this.#options
    return new NonFiniteError(
      this.#state.step + 1,
      `${this.#where(problem, at)}${more} The parameters are as before this step; ${this.#whatIsSaved()} Ways out: a lower ` +
        `learningRate (now ${args.learningRate}), a warm-up (warmupSteps), a smaller maxGradNorm (now ` +
        `${args.maxGradNorm || 'off'}), onNonFinite: 'skip' or 'backoff', and a look at these rows and at the base weights, ` +
        'which may hold such values themselves.',
    )
  }

  /** What went wrong at the next step, with its rate and the rows that `at` names. */
  #where(problem: string, at: readonly number[]): string {
    const { train } = this.#options
    const { step, maxSteps } = this.#state
    const rows = at.slice(0, 16).map(i => rowOf(train, i))
    const others = at.length > rows.length ? `, and ${at.length - rows.length} more` : ''
    const told = rows.length ? `, rows ${rows.join(', ')}${others} of the ${train.name}` : ''
    return `Step ${step + 1} of ${maxSteps}: ${problem} (learning rate ${this.#rate()}${told}).`
  }

  #whatIsSaved(): string {
    const { savedStep } = this.#state
    const saved =
      savedStep === undefined ? '' : `${this.#options.output!.path} holds the complete model of step ${savedStep}.`
    return [saved, this.#whatGoesOn()].filter(Boolean).join(' ') || 'nothing was saved.'
  }

  #whatGoesOn(): string {
    const folder = this.#checkpoints?.lastFolder
    return folder === undefined ? '' : `${folder} is complete, and resumeFromCheckpoint: true goes on from there.`
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
