/** @file Tests of the training arguments. */
import { describe, expect, it } from 'vitest'
import { TrainingArguments, type TrainingArgumentsOptions } from './arguments.ts'

describe('TrainingArguments', () => {
  it('has the defaults of Transformers', () => {
    expect(new TrainingArguments()).toMatchObject({
      learningRate: 5e-5,
      numTrainEpochs: 3,
      maxSteps: -1,
      perDeviceTrainBatchSize: 8,
      gradientAccumulationSteps: 1,
      weightDecay: 0,
      maxGradNorm: 1,
      lrSchedulerType: 'linear',
      optim: 'adamw',
      adamBeta1: 0.9,
      adamBeta2: 0.999,
      adamEpsilon: 1e-8,
      seed: 42,
      saveStrategy: 'no',
    })
  })

  it('saves at the end where there is an output folder', () => {
    expect(new TrainingArguments({ outputDir: 'out' }).saveStrategy).toBe('end')
  })

  it('knows which metrics are better when lower', () => {
    const better = (metricForBestModel: string) => new TrainingArguments({ metricForBestModel }).greaterIsBetter
    expect(['loss', 'eval_loss', 'perplexity', 'accuracy', 'eval_f1'].map(better)).toEqual([
      false,
      false,
      false,
      true,
      true,
    ])
    expect(new TrainingArguments({ metricForBestModel: 'eval_f1' }).metricForBestModel).toBe('f1')
    expect(new TrainingArguments({ metricForBestModel: 'error_rate', greaterIsBetter: false }).greaterIsBetter).toBe(
      false,
    )
  })

  it('evaluates as often as it logs unless told otherwise', () => {
    expect(new TrainingArguments({ evalStrategy: 'steps', loggingSteps: 7 }).evalSteps).toBe(7)
    expect(new TrainingArguments({ evalStrategy: 'steps', evalSteps: 3 }).evalSteps).toBe(3)
  })

  it('counts warm-up in steps or as a share, rounded up', () => {
    const steps = (options: TrainingArgumentsOptions) => new TrainingArguments(options).getWarmupSteps(25)
    expect([steps({}), steps({ warmupSteps: 4 }), steps({ warmupRatio: 0.1 }), steps({ warmupSteps: 0.1 })]).toEqual([
      0, 4, 3, 3,
    ])
    expect(steps({ warmupRatio: 1 })).toBe(25)
  })

  it('takes undefined as not given', () => {
    expect(new TrainingArguments({ learningRate: undefined }).learningRate).toBe(5e-5)
  })

  it.each([
    [{ learning_rate: 1 }, /no option "learning_rate".*"learningRate"/],
    [{ epochs: 1 }, /no option "epochs".*"numTrainEpochs"/],
    [{ learningRate: '1e-4' }, /learningRate is '1e-4', expected a number from 0 on/],
    [{ learningRate: Number.NaN }, /learningRate is NaN/],
    [{ perDeviceTrainBatchSize: 0 }, /perDeviceTrainBatchSize is 0, expected a whole number from 1 on/],
    [{ maxSteps: 0 }, /maxSteps is 0/],
    [{ warmupSteps: 2.5 }, /warmupSteps is 2.5, expected a whole number of steps, or a share/],
    [{ lrSchedulerType: 'cosinus' }, /lrSchedulerType is 'cosinus', expected one of .*Did you mean "cosine"/],
    [{ optim: 'adam' }, /optim is 'adam', expected one of 'adamw', 'sgd'.*"adamw"/],
    [{ adamBeta2: 1 }, /adamBeta2 is 1/],
    [{ seed: -1 }, /seed is -1/],
    [{ outputDir: '' }, /outputDir is ''/],
    [{ warmupSteps: 3, warmupRatio: 0.1 }, /give one/],
    [{ lrSchedulerType: 'constant', warmupSteps: 3 }, /'constant_with_warmup'/],
    [{ saveStrategy: 'end' }, /no outputDir/],
    [{ outputDir: 'x', saveSteps: 5 }, /saveSteps is 5, and saveStrategy is 'end'; set it to 'steps'/],
    [{ outputDir: 'x', saveTotalLimit: 5 }, /saveTotalLimit counts checkpoints/],
    [{ outputDir: 'x', saveStrategy: 'steps', saveSteps: 0 }, /saveSteps is 0/],
    [{ earlyStoppingPatience: 2 }, /earlyStoppingPatience needs evaluations/],
    [{ earlyStoppingThreshold: 0.1 }, /belongs to earlyStoppingPatience/],
    [{ spikeFactor: 4 }, /spikeFactor says what a spike is, and onSpike is 'ignore'/],
    [{ onSpike: 'skip', spikeFactor: 1 }, /spikeFactor is 1, expected a number above 1/],
    [{ backoffSteps: 4 }, /backoffSteps belongs to onNonFinite: 'backoff'/],
    [{ onNonFinite: 'backof' as 'backoff' }, /onNonFinite is 'backof'.*"backoff"/],
    [{ loadBestModelAtEnd: true }, /loadBestModelAtEnd needs evaluations/],
    [{ saveStrategy: 'best', outputDir: 'x' }, /saveStrategy 'best' needs evaluations/],
    [{ evalSteps: 5 }, /evalSteps is 5, and evalStrategy is 'no'/],
    [{ momentum: 0.9 }, /momentum and nesterov belong to optim: 'sgd'/],
    [{ optim: 'sgd', nesterov: true }, /nesterov needs a momentum/],
  ])('refuses %o', (options, message) => {
    expect(() => new TrainingArguments(options as TrainingArgumentsOptions)).toThrow(message)
  })
})
