/** @file Tests of the Trainer on small models. */
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import type { Feature } from '../data/index.ts'
import { defaultEngine, floats, tensorData } from '../runtime/index.ts'
import { SafetensorsFile } from '../weights/index.ts'
import type { TrainingArgumentsOptions } from './arguments.ts'
import { EarlyStoppingCallback, type TrainingLog } from './callbacks.ts'
import { NonFiniteError, TrainingInterrupted } from './errors.ts'
import { setTrainable } from './parameters.ts'
import { BagClassifier, BigramModel, bags, countingSequences, LineModel, valuesOf } from './testing/models.ts'
import { Trainer, type TrainerOptions } from './trainer.ts'

afterAll(async () => (await defaultEngine()).dispose())

const FAST: TrainingArgumentsOptions = { learningRate: 0.03, perDeviceTrainBatchSize: 8, threads: 1 }

function trainer(args: TrainingArgumentsOptions = {}, options: Partial<TrainerOptions> = {}) {
  const model = (options.model ?? new BagClassifier()) as BagClassifier
  const made = new Trainer({ trainDataset: bags(64), ...options, model, args: { ...FAST, ...args } })
  return { model, trainer: made }
}

const logs = (history: object[]) => history.filter((entry): entry is TrainingLog => 'loss' in entry)

describe('training', () => {
  it('learns a classification to high accuracy on unseen examples', async () => {
    const { trainer: made } = trainer({ numTrainEpochs: 6 }, { trainDataset: bags(256), evalDataset: bags(100, 1) })
    const before = await made.evaluate()
    const { globalStep, trainingLoss, history, stopped, secondsPerStep, tokensPerSecond } = await made.train()
    const after = await made.evaluate()
    expect(after.eval_accuracy).toBeGreaterThan(0.93)
    expect(after.eval_accuracy).toBeGreaterThan(before.eval_accuracy)
    expect(after.eval_loss).toBeLessThan(before.eval_loss)
    expect([globalStep, stopped]).toEqual([192, false])
    expect(trainingLoss).toBeLessThan(before.eval_loss)
    expect(logs(history)[0].loss).toBeGreaterThan(logs(history).at(-1)!.loss)
    expect(secondsPerStep > 0 && tokensPerSecond > 0).toBe(true)
  })

  it('learns a language with the perplexity that it has', async () => {
    const model = new BigramModel()
    const made = new Trainer({
      model,
      trainDataset: countingSequences(64),
      evalDataset: countingSequences(16, 1),
      args: { ...FAST, learningRate: 0.1, numTrainEpochs: 8 },
    })
    await made.train()
    const metrics = await made.evaluate()
    expect(metrics.eval_perplexity).toBeLessThan(1.05)
    expect(metrics.eval_perplexity).toBe(Math.exp(metrics.eval_loss))
  })

  it('learns a model with inputs of its own, by its own collator', async () => {
    const model = new LineModel()
    const made = new Trainer<[number, number]>({
      model,
      trainDataset: [-2, -1, 0, 1, 2].map(x => [x, 3 * x - 1]),
      dataCollator: pairs => ({
        x: tensorData(
          'float32',
          pairs.map(([x]) => [x]),
        ),
        y: tensorData(
          'float32',
          pairs.map(([, y]) => [y]),
        ),
      }),
      args: {
        optim: 'sgd',
        momentum: 0.9,
        learningRate: 0.02,
        numTrainEpochs: 200,
        lrSchedulerType: 'constant',
        maxGradNorm: 0,
      },
    })
    await made.train()
    expect(model.line.weight.data[0]).toBeCloseTo(3, 3)
    expect(model.line.bias!.data[0]).toBeCloseTo(-1, 3)
  })

  it('compiles once for batches of all lengths', async () => {
    const engine = await defaultEngine()
    let compilations = 0
    const counting = Object.assign(Object.create(engine), {
      compile: (...args: Parameters<typeof engine.compile>) => {
        compilations++
        return engine.compile(...args)
      },
    })
    await trainer({ numTrainEpochs: 1 }, { engine: counting }).trainer.train()
    expect(compilations).toBe(1)
  })

  it('gives the same bits for the same seed, and others for another', async () => {
    const run = async (seed: number) => {
      const { model, trainer: made } = trainer({ seed, maxSteps: 6 }, { model: new BagClassifier({ dropout: 0.3 }) })
      await made.train()
      return valuesOf(model)
    }
    const first = await run(3)
    expect(await run(3)).toEqual(first)
    expect(await run(4)).not.toEqual(first)
  })

  it('drops other elements at each step, and the same ones for the same seed', async () => {
    const losses = async (dropout: number) => {
      const same = bags(1, 0, 4)
      const model = new BagClassifier({ dropout })
      const { trainer: made } = trainer(
        { learningRate: 0, maxSteps: 4, loggingSteps: 1, perDeviceTrainBatchSize: 4 },
        { model, trainDataset: [...same, ...same, ...same, ...same] },
      )
      return logs((await made.train()).history).map(({ loss }) => loss)
    }
    expect(new Set(await losses(0.5)).size).toBe(4)
    expect(await losses(0.5)).toEqual(await losses(0.5))
    expect(new Set(await losses(0)).size).toBe(1)
  })

  it('groups batches by length when told to, without leaving examples out', async () => {
    const seen: number[] = []
    const plain = trainer(
      { groupByLength: true, numTrainEpochs: 1 },
      { callbacks: [{ onStepEnd: ({ tokens }) => void seen.push(tokens) }] },
    )
    await plain.trainer.train()
    const total = bags(64).reduce((sum, { inputIds }) => sum + inputIds.length, 0)
    expect(seen.reduce((a, b) => a + b, 0)).toBe(total)
  })

  it('keeps frozen parameters to the bit under weight decay and momentum', async () => {
    for (const args of [{ optim: 'sgd', momentum: 0.9 }, { optim: 'adamw' }] as const) {
      const { model, trainer: made } = trainer({ ...args, weightDecay: 0.1, maxSteps: 5 })
      model.initialize(0)
      const chosen = setTrainable(model, name => name.startsWith('classifier'))
      const before = valuesOf(model)
      await made.train()
      const after = valuesOf(model)
      for (const name of Object.keys(before)) {
        if (chosen.includes(name)) expect(after[name], name).not.toEqual(before[name])
        else expect(after[name], name).toEqual(before[name])
      }
    }
  })

  it('refuses to train nothing', async () => {
    const { model, trainer: made } = trainer()
    for (const parameter of model.parameters()) parameter.requiresGrad = false
    await expect(made.train()).rejects.toThrow(/nothing to train: no parameter has requiresGrad/)
  })
})

describe('steps', () => {
  const oneStep = async (args: TrainingArgumentsOptions, model: BagClassifier | BigramModel, data: Feature[]) => {
    const made = new Trainer({
      model,
      trainDataset: data,
      args: { ...FAST, optim: 'sgd', maxSteps: 1, lrSchedulerType: 'constant', ...args },
    })
    const { history } = await made.train()
    return { values: valuesOf(model), log: logs(history)[0] }
  }

  it.each([
    ['classes', () => new BagClassifier(), bags(12)],
    ['tokens, of which passes have different numbers', () => new BigramModel(), countingSequences(12)],
  ])('of accumulated passes equal those of one large batch, for %s', async (_, make, data) => {
    const whole = await oneStep({ perDeviceTrainBatchSize: 12, learningRate: 0.5 }, make(), data)
    const parted = await oneStep(
      { perDeviceTrainBatchSize: 4, gradientAccumulationSteps: 3, learningRate: 0.5 },
      make(),
      data,
    )
    expect(parted.log.loss).toBeCloseTo(whole.log.loss, 6)
    expect(parted.log.grad_norm).toBeCloseTo(whole.log.grad_norm, 5)
    for (const [name, values] of Object.entries(whole.values)) {
      values.forEach((value, i) => {
        expect(Math.abs(parted.values[name][i] - value), name).toBeLessThan(1e-6)
      })
    }
  })

  it('are clipped by the norm of all gradients together', async () => {
    const start = new BagClassifier()
    start.initialize(42)
    const before = valuesOf(start)
    const distance = async (maxGradNorm: number) => {
      const { values, log } = await oneStep({ maxGradNorm, learningRate: 1 }, new BagClassifier(), bags(8))
      const squares = Object.entries(values).flatMap(([name, row]) =>
        row.map((value, i) => (value - before[name][i]) ** 2),
      )
      return { moved: Math.sqrt(squares.reduce((a, b) => a + b, 0)), norm: log.grad_norm }
    }
    const free = await distance(0)
    const clipped = await distance(0.01)
    expect(free.moved).toBeCloseTo(free.norm, 4)
    expect(free.norm).toBeGreaterThan(0.02)
    expect(clipped.moved).toBeCloseTo(0.01, 5)
    expect(clipped.norm).toBe(free.norm)
  })

  it('are as many as Transformers takes', async () => {
    const steps = async (args: TrainingArgumentsOptions) => {
      const { trainer: made } = trainer(args, { trainDataset: bags(20) })
      const { globalStep, history } = await made.train()
      return [globalStep, logs(history).at(-1)!.epoch]
    }
    expect(await steps({ numTrainEpochs: 2 })).toEqual([6, 2])
    expect(await steps({ numTrainEpochs: 1.5 })).toEqual([5, 1 + 2 / 3])
    expect(await steps({ maxSteps: 4 })).toEqual([4, 1 + 1 / 3])
    expect(await steps({ numTrainEpochs: 2, gradientAccumulationSteps: 2 })).toEqual([4, 2])
    expect(await steps({ numTrainEpochs: 1, dataloaderDropLast: true })).toEqual([2, 1])
  })

  it('follow the schedule, with a first warm-up step that changes nothing', async () => {
    const model = new BagClassifier()
    model.initialize(0)
    const before = valuesOf(model)
    const rates: number[] = []
    let afterFirst: ReturnType<typeof valuesOf> | undefined
    const { trainer: made } = trainer(
      { maxSteps: 4, warmupSteps: 2, learningRate: 0.1, weightDecay: 0.1 },
      {
        model,
        callbacks: [
          {
            onStepEnd: ({ learningRate }) => {
              afterFirst ??= valuesOf(model)
              rates.push(learningRate)
            },
          },
        ],
      },
    )
    await made.train()
    expect(rates).toEqual([0, 0.05, 0.1, 0.05])
    expect(afterFirst).toEqual(before)
  })

  it('decay weights, and neither biases nor norms', async () => {
    const decayed = async (weightDecay: number) => (await oneStep({ weightDecay }, new BagClassifier(), bags(8))).values
    const [without, with_] = [await decayed(0), await decayed(0.5)]
    for (const [name, values] of Object.entries(without)) {
      if (/norm|bias/.test(name)) expect(with_[name], name).toEqual(values)
      else expect(with_[name], name).not.toEqual(values)
    }
  })
})

describe('evaluation', () => {
  it('does not depend on the batch size, the order or the padding', async () => {
    const model = new BigramModel()
    const data = countingSequences(13)
    const metrics = async (perDeviceEvalBatchSize: number, padToMultipleOf: number, source: Feature[]) =>
      new Trainer({ model, args: { ...FAST, perDeviceEvalBatchSize, padToMultipleOf } }).evaluate(source)
    const one = await metrics(13, 1, data)
    const other = await metrics(3, 8, [...data].reverse())
    expect(other.eval_loss).toBeCloseTo(one.eval_loss, 5)
  })

  it('takes place at steps, and at the end', async () => {
    const steps: number[] = []
    const { trainer: made } = trainer(
      { maxSteps: 5, evalStrategy: 'steps', evalSteps: 2 },
      { evalDataset: bags(8, 1), callbacks: [{ onEvaluate: ({ step }) => void steps.push(step) }] },
    )
    const { metrics } = await made.train()
    expect(steps).toEqual([2, 4, 5])
    expect(metrics).toEqual(await made.evaluate())
  })

  it('leaves the best values in the model when asked to', async () => {
    const data = bags(16, 1)
    const run = async (loadBestModelAtEnd: boolean) => {
      const { model, trainer: made } = trainer(
        // A rate that overshoots: the first evaluations are not the worst.
        { learningRate: 2, maxSteps: 8, evalStrategy: 'steps', evalSteps: 1, loadBestModelAtEnd },
        { evalDataset: data },
      )
      const result = await made.train()
      return { model, result, now: await made.evaluate() }
    }
    const best = await run(true)
    const losses = best.result.history.flatMap(entry => ('eval_loss' in entry ? [entry.eval_loss as number] : []))
    expect(losses).toHaveLength(8)
    expect(best.now.eval_loss).toBe(Math.min(...losses))
    expect(best.result.bestMetric).toBe(Math.min(...losses))
    expect(best.result.metrics.eval_loss).toBe(Math.min(...losses))
    expect(best.result.bestStep).toBe(losses.indexOf(Math.min(...losses)) + 1)
    expect(best.result.bestStep).not.toBe(8)
    const last = await run(false)
    expect(last.now.eval_loss).toBe(losses[7])
  })

  it('refuses a metric that does not exist', async () => {
    const { trainer: made } = trainer(
      { evalStrategy: 'epoch', loadBestModelAtEnd: true, metricForBestModel: 'acuracy' },
      { evalDataset: bags(8) },
    )
    await expect(made.train()).rejects.toThrow(/metricForBestModel is "acuracy".*Did you mean "accuracy"/)
  })

  it('adds metrics of the user', async () => {
    const { trainer: made } = trainer(
      {},
      { computeMetrics: ({ logits, labels }) => ({ rows: logits.length + labels.length }) },
    )
    expect((await made.evaluate(bags(5))).eval_rows).toBe(10)
  })

  it('has no dropout', async () => {
    const model = new BagClassifier({ dropout: 0.5 })
    const made = new Trainer({ model, args: FAST })
    expect(await made.evaluate(bags(8))).toEqual(await made.evaluate(bags(8)))
  })
})

describe('prediction', () => {
  it('gives scores and labels in the order of the data', async () => {
    const { trainer: made } = trainer({ perDeviceEvalBatchSize: 3 })
    const data = bags(7, 2)
    const { logits, labels, metrics } = await made.predict(data)
    expect(labels).toEqual(data.map(feature => feature.labels))
    expect(metrics).toHaveProperty('test_accuracy')
    const alone = await made.predict([data[4]])
    logits[4].forEach((value, i) => {
      expect(value).toBeCloseTo(alone.logits[0][i], 5)
    })
  })

  it('works without labels', async () => {
    const { trainer: made } = trainer()
    const unlabelled = bags(3).map(({ inputIds }) => ({ inputIds }) as Feature)
    const { logits, labels, metrics } = await made.predict(unlabelled)
    expect([logits.length, labels, metrics]).toEqual([3, [], {}])
    expect(logits.map(row => [...row])).toEqual((await made.predict(bags(3))).logits.map(row => [...row]))
  })

  it('gives scores for each token without those of padding', async () => {
    const made = new Trainer({ model: new BigramModel(), args: FAST })
    const data = countingSequences(4)
    const { logits, labels } = await made.predict(data)
    expect(logits.map(row => row.length)).toEqual(data.map(({ inputIds }) => inputIds.length * 12))
    expect(labels).toEqual(data.map(feature => feature.labels))
  })
})

describe('callbacks', () => {
  it('are called in order', async () => {
    const calls: string[] = []
    const names = ['onTrainBegin', 'onStepEnd', 'onLog', 'onEvaluate', 'onSave', 'onEpochEnd', 'onTrainEnd'] as const
    const callback = Object.fromEntries(names.map(name => [name, () => void calls.push(name)]))
    const outputDir = join(await temporaryFolder(), 'out')
    const { trainer: made } = trainer(
      { outputDir, numTrainEpochs: 1, loggingSteps: 2, evalStrategy: 'epoch' },
      { trainDataset: bags(24), evalDataset: bags(8), callbacks: [callback] },
    )
    await made.train()
    expect(calls).toEqual([
      'onTrainBegin',
      'onStepEnd',
      'onStepEnd',
      'onLog',
      'onStepEnd',
      'onLog',
      'onEpochEnd',
      'onEvaluate',
      'onSave',
      'onTrainEnd',
    ])
  })

  it('log the mean loss since the last log', async () => {
    const losses: number[] = []
    const { trainer: made } = trainer(
      { maxSteps: 5, loggingSteps: 3 },
      { callbacks: [{ onStepEnd: ({ loss }) => void losses.push(loss) }] },
    )
    const { history, trainingLoss } = await made.train()
    const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length
    expect(logs(history).map(({ step, loss }) => [step, loss])).toEqual([
      [3, mean(losses.slice(0, 3))],
      [5, mean(losses.slice(3))],
    ])
    expect(trainingLoss).toBe(mean(losses))
  })

  it('can end the training, which then ends as a complete one', async () => {
    const outputDir = join(await temporaryFolder(), 'out')
    const { model, trainer: made } = trainer(
      { outputDir, maxSteps: 50 },
      {
        callbacks: [
          {
            onStepEnd: ({ step }, control) => {
              control.shouldTrainingStop = step === 3
            },
          },
        ],
      },
    )
    expect(await made.train()).toMatchObject({ globalStep: 3, stopped: true })
    await using file = await SafetensorsFile.open(join(outputDir, 'model.safetensors'))
    const saved = await file.read('classifier.bias')
    expect(new Float32Array(saved.buffer, saved.byteOffset, 2)).toEqual(model.classifier.bias!.data)
  })

  it('end it when the metric stops improving', async () => {
    const { trainer: made } = trainer(
      { learningRate: 0, maxSteps: 20, evalStrategy: 'steps', evalSteps: 2 },
      { evalDataset: bags(8), callbacks: [new EarlyStoppingCallback({ earlyStoppingPatience: 2 })] },
    )
    expect(await made.train()).toMatchObject({ globalStep: 6, stopped: true, bestStep: 2 })
  })
})

describe('a value that is not finite', () => {
  const poison = (model: BagClassifier) => {
    model.initialize(0)
    model.body.embeddings.weight.data[11 * 8] = Number.NaN
    return model
  }
  const clean = bags(40).map(({ inputIds }) => ({ inputIds: inputIds.map(id => Math.min(id, 10)), labels: 0 }))
  const data = clean.map((feature, i) => (i === 23 ? { ...feature, inputIds: [11, 3] } : feature))

  it('stops before the step, says where and what to do, and saves nothing', async () => {
    const outputDir = join(await temporaryFolder(), 'out')
    const model = poison(new BagClassifier())
    let last = valuesOf(model)
    const { trainer: made } = trainer(
      { outputDir, perDeviceTrainBatchSize: 4, seed: 2 },
      { model, trainDataset: data, callbacks: [{ onStepEnd: () => void (last = valuesOf(model)) }] },
    )
    const error = await made.train().catch(error => error)
    expect(error).toBeInstanceOf(NonFiniteError)
    expect(error.message).toMatch(
      /^Step \d+ of 30: the loss is NaN \(learning rate [\d.]+, rows (\d+, ){3}\d+ of the training data\)/,
    )
    expect(error.message).toMatch(/rows [^)]*\b23\b/)
    expect(error.message).toMatch(/nothing was saved.*lower learningRate/)
    expect(error.step).toBeGreaterThan(1)
    expect(valuesOf(model)).toEqual(last)
    expect(existsSync(outputDir)).toBe(false)
  })

  it('names rows as the data set does', async () => {
    const source = { features: data, rows: data.map((_, i) => i + 1000), tooLong: [], maxLength: 9, notes: [] }
    const { trainer: made } = trainer({}, { model: poison(new BagClassifier()), trainDataset: source })
    await expect(made.train()).rejects.toThrow(/\b1023\b/)
  })

  it('in the gradient alone names the parameter', async () => {
    const model = new LineModel()
    model.initialize(0)
    const made = new Trainer<number>({
      model,
      // The loss fits into float32 and its gradient does not.
      trainDataset: [1e25],
      dataCollator: ([x]) => ({ x: tensorData('float32', [[x]]), y: tensorData('float32', [[0]]) }),
      args: { ...FAST },
    })
    const before = valuesOf(model)
    model.line.weight.data[0] = 1e-10
    await expect(made.train()).rejects.toThrow(/the gradient has the norm (Infinity|NaN), first at "line.weight"/)
    expect(valuesOf(model)).toEqual({ ...before, 'line.weight': [Math.fround(1e-10)] })
  })

  it('made by the last step is not saved', async () => {
    const outputDir = join(await temporaryFolder(), 'out')
    const { trainer: made } = trainer({
      outputDir,
      optim: 'sgd',
      learningRate: 1e39,
      maxSteps: 1,
      lrSchedulerType: 'constant',
    })
    await expect(made.train()).rejects.toThrow(/made values that are not finite, which are not saved/)
    expect(existsSync(outputDir)).toBe(false)
  })
})

describe('interruption', () => {
  it('stops between steps, tells the state, and writes nothing', async () => {
    const outputDir = join(await temporaryFolder(), 'out')
    const controller = new AbortController()
    let last: ReturnType<typeof valuesOf> | undefined
    const { model, trainer: made } = trainer(
      { outputDir, maxSteps: 100 },
      {
        callbacks: [
          {
            onStepEnd: ({ step }) => {
              last = valuesOf(model)
              if (step === 3) controller.abort('Ctrl-C')
            },
          },
        ],
      },
    )
    const error = await made.train({ signal: controller.signal }).catch(error => error)
    expect(error).toBeInstanceOf(TrainingInterrupted)
    expect([error.name, error.cause, error.state.step, error.state.maxSteps]).toEqual(['AbortError', 'Ctrl-C', 3, 100])
    expect(error.message).toMatch(/after step 3 of 100.*nothing was saved/)
    expect(valuesOf(model)).toEqual(last)
    expect(await readdir(join(outputDir, '..'))).toEqual([])
  })

  it('within an evaluation stops too, and tells what was saved before', async () => {
    const outputDir = join(await temporaryFolder(), 'out')
    const controller = new AbortController()
    const { trainer: made } = trainer(
      { outputDir, saveStrategy: 'best', evalStrategy: 'steps', evalSteps: 2, maxSteps: 100 },
      {
        evalDataset: bags(8),
        callbacks: [{ onStepEnd: ({ step }) => void (step === 4 && controller.abort()) }],
      },
    )
    await expect(made.train({ signal: controller.signal })).rejects.toThrow(
      /after step 4 of 100.*the complete model of step 2/,
    )
    expect(await readdir(outputDir)).toEqual(['model.safetensors'])
  })

  it('before the start takes no step, and leaves the Trainer usable', async () => {
    const { trainer: made } = trainer({ maxSteps: 2 })
    await expect(made.train({ signal: AbortSignal.abort() })).rejects.toThrow(/after step 0 of 2/)
    expect((await made.train()).globalStep).toBe(2)
  })
})

describe('saving', () => {
  const savedBias = async (folder: string) => {
    await using file = await SafetensorsFile.open(join(folder, 'model.safetensors'))
    const bytes = await file.read('classifier.bias')
    return [...new Float32Array(bytes.buffer, bytes.byteOffset, 2)]
  }

  it('refuses an output folder that is taken, before training', async () => {
    const outputDir = await temporaryFolder({ 'precious.txt': '' })
    let steps = 0
    const { trainer: made } = trainer({ outputDir }, { callbacks: [{ onStepEnd: () => void steps++ }] })
    await expect(made.train()).rejects.toThrow(/not empty/)
    expect(steps).toBe(0)
  })

  it.each(['end', 'best'] as const)('with %s keeps the best values where those are wanted', async saveStrategy => {
    const outputDir = join(await temporaryFolder(), 'out')
    const saves: number[] = []
    const { model, trainer: made } = trainer(
      {
        outputDir,
        saveStrategy,
        learningRate: 2,
        maxSteps: 6,
        evalStrategy: 'steps',
        evalSteps: 1,
        loadBestModelAtEnd: true,
      },
      { evalDataset: bags(16, 1), callbacks: [{ onSave: ({ step }) => void saves.push(step) }] },
    )
    const { bestStep } = await made.train()
    expect(saves.at(-1)).toBe(bestStep)
    expect(await savedBias(outputDir)).toEqual([...model.classifier.bias!.data])
  })

  it('after each epoch writes each time, and once at the end', async () => {
    const outputDir = join(await temporaryFolder(), 'out')
    const saves: [number, string][] = []
    const { model, trainer: made } = trainer(
      { outputDir, saveStrategy: 'epoch', numTrainEpochs: 3 },
      { trainDataset: bags(16), callbacks: [{ onSave: ({ step, folder }) => void saves.push([step, folder]) }] },
    )
    await made.train()
    const checkpoints = [2, 4, 6].map(step => [step, join(outputDir, `checkpoint-${step}`)])
    expect(saves).toEqual([...checkpoints, [6, outputDir]])
    expect(await savedBias(outputDir)).toEqual([...model.classifier.bias!.data])
  })

  it('on request writes to any folder', async () => {
    const folder = join(await temporaryFolder(), 'out')
    const { trainer: made } = trainer({ maxSteps: 1 })
    await made.train()
    await made.saveModel(folder)
    expect(await readdir(folder)).toEqual(['model.safetensors'])
    await expect(made.saveModel()).rejects.toThrow(/give saveModel a folder/)
  })
})

describe('data', () => {
  const feature = (inputIds: number[], labels: Feature['labels'] = 0): Feature => ({ inputIds, labels })

  it.each<[string, Feature[], RegExp]>([
    ['no examples', [], /training data is empty/],
    [
      'a class that the model does not have',
      [feature([2]), feature([2], 2)],
      /row 1: the label 2 is not one of the model's 2 classes.*numLabels/,
    ],
    ['a token outside the vocabulary', [feature([12])], /row 0: the token 12 is outside the model's vocabulary of 12/],
    ['an example without tokens', [feature([])], /row 0: there are no tokens/],
    [
      'an example that is too long',
      [feature(new Array(17).fill(2))],
      /row 0: got 17 tokens, the model takes at most 16/,
    ],
    ['an example with nothing to learn', [feature([2], -100)], /row 0: there is nothing to learn/],
  ])('is refused with %s', (_, trainDataset, message) => {
    expect(() => trainer({}, { trainDataset })).toThrow(message)
  })

  it('of tokens is refused where only the first label counts, which the shift drops', () => {
    const trainDataset = [feature([2, 3], [2, -100])]
    expect(() => new Trainer({ model: new BigramModel(), trainDataset })).toThrow(/nothing to learn/)
  })

  it('is refused when padding would be too long', () => {
    expect(() => trainer({ padToMultipleOf: 12 }, { trainDataset: [feature(new Array(13).fill(2))] })).toThrow(
      /13 tokens, padded to 24/,
    )
  })

  it('with segments is taken where they say nothing, and refused where they do', async () => {
    const typed = (type: number) => [{ ...feature([2, 3]), tokenTypeIds: [0, type] }]
    await trainer({ maxSteps: 1 }, { trainDataset: typed(0) }).trainer.train()
    await expect(trainer({ maxSteps: 1 }, { trainDataset: typed(1) }).trainer.train()).rejects.toThrow(
      /takes no token_type_ids/,
    )
  })

  it('for evaluation must be there when evaluations are asked for', () => {
    expect(() => trainer({ evalStrategy: 'epoch' })).toThrow(/no evalDataset/)
  })

  it('must be there to train', async () => {
    await expect(new Trainer({ model: new BagClassifier() }).train()).rejects.toThrow(/give the Trainer a trainDataset/)
  })

  it('of padding needs a padding token only where something is padded', async () => {
    const model = Object.assign(new BagClassifier(), { config: {} })
    const train = (trainDataset: Feature[]) =>
      new Trainer({ model, trainDataset, args: { ...FAST, maxSteps: 1 } }).train()
    await train(bags(8, 0, 4))
    await expect(train([feature([2]), feature([2, 3])])).rejects.toThrow(/no padding token is known/)
  })
})

describe('Trainer', () => {
  it('refuses an unknown option', () => {
    const options = { model: new BagClassifier(), trainDatset: [] } as unknown as TrainerOptions
    expect(() => new Trainer(options)).toThrow(/no option "trainDatset".*"trainDataset"/)
  })

  it('refuses an unknown option of a training', async () => {
    const options = { resumeFrom: true } as object
    await expect(trainer().trainer.train(options)).rejects.toThrow(
      /train has no option "resumeFrom".*"resumeFromCheckpoint"/,
    )
  })

  it('trains once at a time', async () => {
    const { trainer: made } = trainer({ maxSteps: 2 })
    const first = made.train()
    await expect(made.train()).rejects.toThrow(/is training already/)
    await first
  })

  it('leaves parameters usable by other functions afterwards', async () => {
    const { model, trainer: made } = trainer({ maxSteps: 2 })
    await made.train()
    const { logits } = await made.predict(bags(1))
    expect(floats({ dtype: 'float32', dims: [2], data: logits[0] })).toHaveLength(2)
    expect(model.classifier.weight.isLoaded).toBe(true)
  })
})
