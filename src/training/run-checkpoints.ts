/** @file The checkpoints of one training: what goes into them, and how it goes on from one. */
import type { ParameterVector } from '../nn/index.ts'
import type { Engine } from '../runtime/index.ts'
import type { Anomalies, GoodState } from './anomalies.ts'
import type { TrainingArguments } from './arguments.ts'
import type { BestModel } from './best-model.ts'
import type { TrainerCallback, TrainerControl, TrainerState } from './callbacks.ts'
import type { Checkpoint, CheckpointReason } from './checkpoints.ts'
import { diskAdvice } from './disk-advice.ts'
import { CheckpointError } from './errors.ts'
import type { Examples } from './examples.ts'
import type { Fingerprint } from './fingerprint.ts'
import type { TrainableModel } from './model.ts'
import type { Optimizer, OptimizerState } from './optimizers/optimizer.ts'
import type { OutputFolder } from './output-folder.ts'
import type { SourceFiles } from './source-files.ts'
import { namedEntries, namedValues, optimizerEntries, optimizerVectors, type Tensors } from './tensor-state.ts'
import {
  countsOf,
  type OwnState,
  restoreState,
  stateFile,
  type Tallies,
  type Timing,
  type TrainerStateFile,
  talliesOf,
  timingOf,
} from './trainer-state.ts'

const VALUES = 'trainable.safetensors'
const BEST = 'best.safetensors'
const OPTIMIZER = 'optimizer.safetensors'
const LAST_GOOD = 'last_good.safetensors'
const STATE = 'trainer_state.json'
const FINGERPRINT = 'training_args.json'

/** Where a training stands, beside what its callbacks see. */
export interface Progress {
  state: TrainerState
  /** The pass over the data, from 0, and how many of its steps are done; 0 once its end was dealt with. */
  epochIndex: number
  stepInEpoch: number
  /** Of the last good step. */
  learningRate: number
  gradNorm: number
  evaluatedStep: number | undefined
  metrics: Record<string, number>
  tallies: Tallies
}

/** What a checkpoint is made of. */
export interface CheckpointedParts {
  model: TrainableModel
  args: TrainingArguments
  train: Examples<unknown>
  evaluation: Examples<unknown> | undefined
  engine?: Engine
  /** Whether steps read activations that were kept. */
  keepsActivations?: boolean
  vector: ParameterVector
  optimizer: Optimizer
  best: BestModel
  anomalies: Anomalies
  callbacks: readonly TrainerCallback<never>[]
  control: TrainerControl
  progress: Progress
  output: OutputFolder
  /** Writes the model, or its adapter, and what goes with it. */
  saveModel(folder: string): Promise<unknown>
}

/** Writes and reads the checkpoints of a training. */
export class RunCheckpoints {
  readonly #parts: CheckpointedParts
  #fingerprint: Promise<Fingerprint> | undefined
  #sources: SourceFiles | undefined
  /** The step whose checkpoint is there as it should be. */
  #savedStep: number | undefined
  #lastStep: number | undefined

  constructor(parts: CheckpointedParts) {
    this.#parts = parts
  }

  /** The folder of the last checkpoint that was written or gone on from. */
  get lastFolder(): string | undefined {
    return this.#lastStep === undefined ? undefined : this.#parts.output.checkpoints.path(this.#lastStep)
  }

  /** Notes what the training is made of before its first step: files may change afterwards. */
  async begin(): Promise<void> {
    const { SourceFiles } = await import('./source-files.ts')
    this.#sources = await SourceFiles.of(this.#parts.model)
    await this.#takeFingerprint()
  }

  /**
   * Refuses to save what was learnt from weights that changed on disk while the training read them.
   *
   * @throws {CheckpointError} naming the files
   */
  async requireSameBase(): Promise<void> {
    const changed = (await this.#sources?.changed()) ?? []
    if (changed.length === 0) return
    const { fingerprintOf } = await import('./fingerprint.ts')
    const { SourceFiles } = await import('./source-files.ts')
    const now = await fingerprintOf(this.#parts).catch(() => undefined)
    if (now?.frozen !== (await this.#takeFingerprint()).frozen) {
      throw new CheckpointError(
        `The weights of the base changed while they were trained on, so step ${this.#parts.progress.state.step} is not ` +
          `saved: ${changed.join(', ')} ${changed.length > 1 ? 'were' : 'was'} written to. Put back what was there when the ` +
          `training began. ${this.#whatIsThere()}`,
      )
    }
    this.#sources = await SourceFiles.of(this.#parts.model)
  }

  /**
   * Writes a checkpoint of this step, unless there is one.
   *
   * @returns its folder; undefined where it was there
   * @throws {CheckpointError} when it cannot be written; those before it are as they were
   */
  async save(reason: CheckpointReason): Promise<string | undefined> {
    const { output, progress, args, vector } = this.#parts
    const { step, bestStep } = progress.state
    if (this.#savedStep === step) return undefined
    if (!vector.data.every(Number.isFinite)) {
      throw new CheckpointError(
        `Step ${step} made values that are not finite, which are not saved. ${this.#whatIsThere()} Resume from there ` +
          "with a lower learningRate, or with onNonFinite: 'backoff'.",
      )
    }
    await this.requireSameBase()
    try {
      const folder = await output.checkpoints.write(
        { step, reason, ...(await this.#contents()) },
        { limit: args.saveTotalLimit, best: bestStep },
      )
      this.#savedStep = this.#lastStep = step
      return folder
    } catch (cause) {
      throw new CheckpointError(
        `Could not write the checkpoint of step ${step} to ${output.path}: ${(cause as Error).message} ` +
          `${this.#whatIsThere()} ${diskAdvice(cause)}`,
        { cause },
      )
    }
  }

  #whatIsThere(): string {
    const { lastFolder } = this
    return lastFolder
      ? `${lastFolder} is complete; resumeFromCheckpoint: true goes on from there.`
      : 'There is no earlier checkpoint.'
  }

  async #contents() {
    const { progress, args, vector, optimizer, best, anomalies, control, saveModel } = this.#parts
    const { state, tallies } = progress
    const optimizerState = optimizer.state()
    const { good } = anomalies
    const own: OwnState = {
      version: 1,
      epoch_index: progress.epochIndex,
      step_in_epoch: progress.stepInEpoch,
      learning_rate: progress.learningRate,
      grad_norm: progress.gradNorm,
      evaluated_step: progress.evaluatedStep ?? null,
      saved_step: state.savedStep ?? null,
      metrics: progress.metrics,
      stopping: control.shouldTrainingStop,
      tallies: countsOf(tallies),
      optimizer_step: optimizerState.step,
      hooks: optimizerState.hooks ?? [],
      anomalies: anomalies.state(),
      last_good: good
        ? { step: good.step, optimizer_step: good.optimizer.step, hooks: good.optimizer.hooks ?? [] }
        : null,
    }
    const bestValues = state.bestStep === state.step ? undefined : best.values
    return {
      json: {
        [STATE]: stateFile(state, args, this.#callbackStates(), own),
        [FINGERPRINT]: await this.#takeFingerprint(),
      },
      tensors: {
        [VALUES]: namedEntries(vector, vector.data),
        [OPTIMIZER]: optimizerEntries(optimizerState),
        ...(bestValues && { [BEST]: namedEntries(vector, bestValues) }),
        ...(good && {
          [LAST_GOOD]: [...namedEntries(vector, good.values), ...optimizerEntries(good.optimizer, 'optimizer.')],
        }),
      },
      timing: timingOf(state.history, tallies),
      saveModel,
    }
  }

  #takeFingerprint(): Promise<Fingerprint> {
    // Loaded here and not above, so that a browser can train models without Node's modules.
    this.#fingerprint ??= import('./fingerprint.ts').then(({ fingerprintOf }) => fingerprintOf(this.#parts))
    return this.#fingerprint
  }

  /**
   * Refuses a checkpoint of another training.
   *
   * @returns what differs and only changes rounding, in words
   * @throws {CheckpointError} saying what differs
   */
  async check(checkpoint: Checkpoint): Promise<string[]> {
    const { differences } = await import('./fingerprint.ts')
    const saved = (await checkpoint.json(FINGERPRINT)) as Fingerprint
    const { major, minor } = differences(saved, await this.#takeFingerprint())
    if (major.length) {
      throw new CheckpointError(
        `Cannot resume from ${checkpoint.folder}, it belongs to another training: ${major.join('; ')}. Resume with what it ` +
          'was made with, or start anew in another outputDir (or with overwriteOutputDir: true).',
      )
    }
    return minor
  }

  /** Sets everything to where a checkpoint was. Callbacks follow by {@link RunCheckpoints.restoreCallbacks}. */
  async restore(checkpoint: Checkpoint): Promise<void> {
    const { progress, vector, optimizer, best, anomalies, control, output, args } = this.#parts
    const file = (await checkpoint.json(STATE)) as TrainerStateFile
    const timing = (await checkpoint.timing()) as Timing | undefined
    const own = file.peft_ts
    restoreState(progress.state, file, timing)
    progress.epochIndex = own.epoch_index
    progress.stepInEpoch = own.step_in_epoch
    progress.learningRate = own.learning_rate
    progress.gradNorm = own.grad_norm
    progress.evaluatedStep = own.evaluated_step ?? undefined
    progress.metrics = own.metrics
    progress.tallies = talliesOf(own.tallies, timing)
    control.shouldTrainingStop = own.stopping

    vector.data.set(await this.#values(checkpoint, VALUES))
    const fresh = optimizer.state()
    const vectors = optimizerVectors(fresh, await checkpoint.tensors(OPTIMIZER))
    optimizer.loadState({ step: own.optimizer_step, vectors, hooks: own.hooks })
    const { bestStep, step } = progress.state
    if (args.loadBestModelAtEnd && bestStep !== undefined) {
      best.values = bestStep === step ? vector.data.slice() : await this.#values(checkpoint, BEST)
    }
    anomalies.loadState(own.anomalies, await this.#lastGood(checkpoint, own, fresh))

    this.#lastStep = step
    // What a pause cut short is still to be done, and then saved as if there had been none.
    this.#savedStep = checkpoint.reason === 'pause' ? undefined : step
    await output.checkpoints.prune(step, { limit: args.saveTotalLimit, best: bestStep })
  }

  async #values(checkpoint: Checkpoint, file: string): Promise<Float32Array> {
    return namedValues(this.#parts.vector, await tensorsOf(checkpoint, file), file)
  }

  async #lastGood(
    checkpoint: Checkpoint,
    { last_good: saved }: OwnState,
    like: OptimizerState,
  ): Promise<GoodState | undefined> {
    if (!saved) return undefined
    const tensors = await tensorsOf(checkpoint, LAST_GOOD)
    const vectors = optimizerVectors(like, tensors, 'optimizer.')
    const values = namedValues(this.#parts.vector, tensors, LAST_GOOD)
    return { step: saved.step, values, optimizer: { step: saved.optimizer_step, vectors, hooks: saved.hooks } }
  }

  #callbackStates(): Record<string, unknown> {
    const states = this.#named().map(([name, callback]) => [name, callback.state?.()] as const)
    return Object.fromEntries(states.filter(([, state]) => state !== undefined))
  }

  /** Gives callbacks the state that they had. */
  async restoreCallbacks(checkpoint: Checkpoint): Promise<void> {
    const { stateful_callbacks: states } = (await checkpoint.json(STATE)) as TrainerStateFile
    for (const [name, callback] of this.#named()) {
      if (Object.hasOwn(states, name)) callback.loadState?.(states[name])
    }
  }

  /** The callbacks under the names of their classes; further ones of a class are numbered. */
  #named() {
    const seen = new Map<string, number>()
    return this.#parts.callbacks.map(callback => {
      const name = callback.constructor.name
      const count = seen.get(name) ?? 0
      seen.set(name, count + 1)
      return [count ? `${name}_${count}` : name, callback] as const
    })
  }

  /** After the end: checkpoints that were made to pause have served their purpose. */
  async finish(): Promise<void> {
    await this.#parts.output.checkpoints.removePauses()
  }
}

async function tensorsOf(checkpoint: Checkpoint, file: string): Promise<Tensors> {
  const tensors = await checkpoint.tensors(file)
  if (!tensors) throw new CheckpointError(`The checkpoint ${checkpoint.folder} has no ${file}.`)
  return tensors
}
