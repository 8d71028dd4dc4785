/** @file Tests of checkpoints, and of trainings that go on from them as if nothing had happened. */
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { AutoConfig, AutoModelForCausalLM } from '../models/index.ts'
import {
  AdaLoraConfig,
  type AnyPeftConfig,
  ChildTuningConfig,
  FishMaskConfig,
  getPeftModel,
  LoraConfig,
  PeftModel,
  PromptEncoderConfig,
  VeraConfig,
} from '../peft/index.ts'
import { defaultEngine } from '../runtime/index.ts'
import type { TrainingArgumentsOptions } from './arguments.ts'
import { EarlyStoppingCallback } from './callbacks.ts'
import { CheckpointError } from './errors.ts'
import type { TrainableModel } from './model.ts'
import { BagClassifier, bags, countingSequences, valuesOf } from './testing/models.ts'
import { contentsOf, pauseAfter, timeless } from './testing/resuming.ts'
import { Trainer, type TrainerOptions } from './trainer.ts'

afterAll(async () => (await defaultEngine()).dispose())

type Options = Partial<TrainerOptions>

const make = (outputDir: string, args: TrainingArgumentsOptions, options: Options = {}) =>
  new Trainer({
    model: new BagClassifier({ dropout: 0.3 }),
    trainDataset: bags(22),
    onWarning: message => {
      throw new Error(message)
    },
    ...options,
    args: { learningRate: 0.03, perDeviceTrainBatchSize: 2, threads: 1, outputDir, ...args },
  })

/** Trains once without and once with pauses; the two must end the same, on disk and in memory. */
async function expectSame(
  args: TrainingArgumentsOptions,
  { pauses, ...options }: Omit<Options, 'model'> & { pauses: readonly number[] },
  model: () => TrainableModel = () => new BagClassifier({ dropout: 0.3 }),
) {
  const folder = await temporaryFolder()
  const [whole, parted] = ['whole', 'parted'].map(name => join(folder, name))
  const first = make(whole, args, { ...options, model: model() })
  const expected = timeless(await first.train())
  for (const at of pauses) {
    const callbacks = [...(options.callbacks ?? []), ...pauseAfter(at)!]
    const paused = make(parted, args, { ...options, model: model(), callbacks })
    const result = await paused.train({ resumeFromCheckpoint: at !== pauses[0] })
    expect(result.pausedAt).toBe(join(parted, `checkpoint-${at}`))
    expect(existsSync(join(parted, 'model.safetensors'))).toBe(args.saveStrategy === 'best')
  }
  const last = make(parted, args, { ...options, model: model() })
  expect(timeless(await last.train({ resumeFromCheckpoint: true }))).toEqual(expected)
  expect(valuesOf(last.model)).toEqual(valuesOf(first.model))
  expect(await contentsOf(parted)).toEqual(await contentsOf(whole))
}

describe('a training that was paused ends as if it had not been', () => {
  it.each<[string, TrainingArgumentsOptions, readonly number[], Options?]>([
    ['within epochs and at their ends', { numTrainEpochs: 3, gradientAccumulationSteps: 2 }, [1, 6, 8]],
    ['with momentum', { optim: 'sgd', momentum: 0.9, numTrainEpochs: 2 }, [7]],
    ['with evaluations at steps', { maxSteps: 12, evalStrategy: 'steps', evalSteps: 2 }, [4, 5]],
    [
      'with the best values kept, and checkpoints at epochs',
      { numTrainEpochs: 4, evalStrategy: 'epoch', saveStrategy: 'epoch', loadBestModelAtEnd: true, learningRate: 0.3 },
      [15, 34],
    ],
    [
      'with checkpoints at steps of which few are kept',
      { maxSteps: 20, saveStrategy: 'steps', saveSteps: 4, saveTotalLimit: 2, groupByLength: true },
      [4, 9],
    ],
    [
      'with the best saved, and stopping early',
      {
        ...{ maxSteps: 30, evalStrategy: 'steps', evalSteps: 1, saveStrategy: 'best', learningRate: 1 },
        ...{ earlyStoppingPatience: 5, earlyStoppingThreshold: 0.01 },
      },
      [3, 5],
    ],
  ])('%s', async (_, args, pauses, options = {}) => {
    await expectSame({ loggingSteps: 3, ...args }, { evalDataset: bags(8, 1), ...options, pauses })
  })

  it.each<[string, () => AnyPeftConfig]>([
    ['LoRA', () => new LoraConfig({ r: 2, targetModules: ['dense'], loraDropout: 0.2 })],
    ['PiSSA', () => new LoraConfig({ r: 2, targetModules: ['dense'], initLoraWeights: 'pissa' })],
    ['DoRA', () => new LoraConfig({ r: 2, targetModules: ['dense'], useDora: true, modulesToSave: ['classifier'] })],
    [
      'AdaLoRA',
      () => new AdaLoraConfig({ initR: 4, targetR: 1, tinit: 2, tfinal: 2, deltaT: 1, targetModules: ['dense'] }),
    ],
    ['VeRA', () => new VeraConfig({ r: 4, targetModules: ['dense'] })],
    ['Child-Tuning', () => new ChildTuningConfig({ variant: 'F', targetModules: ['dense'] })],
    ['FISH Mask', () => new FishMaskConfig({ keepShare: 0.2, targetModules: ['dense'] })],
  ])('with %s', async (_, config) => {
    const model = () => {
      const base = new BagClassifier()
      base.initialize(3)
      return getPeftModel(base, config(), { seed: 5 }) as PeftModel<BagClassifier>
    }
    const args = { numTrainEpochs: 1, saveStrategy: 'steps', saveSteps: 5 } as const
    await expectSame(args, { pauses: [3, 7], trainDataset: bags(22) }, model)
  })

  it('with P-tuning, whose file does not hold what trains', async () => {
    const model = () => {
      const config = AutoConfig.fromJSON({
        ...{ model_type: 'llama', architectures: ['LlamaForCausalLM'], vocab_size: 12, hidden_size: 8 },
        ...{ intermediate_size: 12, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1 },
        ...{ max_position_embeddings: 32, pad_token_id: 0 },
      })
      const base = AutoModelForCausalLM.fromConfig(config)
      base.initialize(1)
      return getPeftModel(base, new PromptEncoderConfig({ numVirtualTokens: 3, encoderHiddenSize: 6 }))
    }
    await expectSame({ numTrainEpochs: 1 }, { pauses: [2], trainDataset: countingSequences(10) }, model)
  })

  it('with callbacks that keep a state', async () => {
    const args = { maxSteps: 12, evalStrategy: 'steps', evalSteps: 1, learningRate: 0 } as const
    const folder = await temporaryFolder()
    const evalDataset = bags(8, 1)
    const callbacks = () => [new EarlyStoppingCallback({ earlyStoppingPatience: 4 })]
    await make(join(folder, 'a'), args, { evalDataset, callbacks: [...callbacks(), ...pauseAfter(3)!] }).train()
    const resumed = make(join(folder, 'a'), args, { evalDataset, callbacks: callbacks() })
    expect((await resumed.train({ resumeFromCheckpoint: true })).globalStep).toBe(5)
  })

  it('when the pause cuts an evaluation short', async () => {
    const args = { maxSteps: 6, evalStrategy: 'steps', evalSteps: 2, saveStrategy: 'steps', saveSteps: 2 } as const
    const folder = await temporaryFolder()
    const evalDataset = bags(8, 1)
    const controller = new AbortController()
    const callbacks = [{ onStepEnd: ({ step }: { step: number }) => void (step === 4 && controller.abort()) }]
    const paused = make(join(folder, 'a'), args, { evalDataset, callbacks })
    const { pausedAt, history } = await paused.train({ pauseSignal: controller.signal })
    expect(pausedAt).toMatch(/checkpoint-4$/)
    expect(history.filter(entry => 'eval_loss' in entry)).toHaveLength(1)
    await make(join(folder, 'a'), args, { evalDataset }).train({ resumeFromCheckpoint: true })
    await make(join(folder, 'b'), args, { evalDataset }).train()
    expect(await contentsOf(join(folder, 'a'))).toEqual(await contentsOf(join(folder, 'b')))
  })
})

describe('a checkpoint', () => {
  const steps = { maxSteps: 8, saveStrategy: 'steps', saveSteps: 2 } as const

  it('has the names of Transformers, and its adapter loads alone', async () => {
    const folder = join(await temporaryFolder(), 'out')
    const base = new BagClassifier()
    base.initialize(3)
    const model = getPeftModel(base, new LoraConfig({ r: 2, targetModules: ['dense'] })) as PeftModel<BagClassifier>
    await make(folder, { ...steps, maxSteps: 2 }, { model }).train()
    const names = await readdir(join(folder, 'checkpoint-2'))
    expect(names).toEqual(
      expect.arrayContaining(['adapter_config.json', 'adapter_model.safetensors', 'optimizer.safetensors']),
    )
    const state = JSON.parse(await readFile(join(folder, 'checkpoint-2/trainer_state.json'), 'utf8'))
    expect(state).toMatchObject({ global_step: 2, max_steps: 2, best_metric: null, log_history: expect.any(Array) })
    const loaded = await PeftModel.fromPretrained(base, join(folder, 'checkpoint-2'))
    const key = 'base_model.model.body.dense.lora_B.default.weight'
    expect(valuesOf(loaded)[key]).toEqual(valuesOf(model)[key])
  })

  it('is kept as often as asked, the best always', async () => {
    const folder = join(await temporaryFolder(), 'out')
    const evaluate = { evalStrategy: 'steps', evalSteps: 2, metricForBestModel: 'falling' } as const
    let value = 0
    const made = make(
      folder,
      { ...steps, ...evaluate, saveTotalLimit: 2, greaterIsBetter: true, loadBestModelAtEnd: true },
      { evalDataset: bags(8, 1), computeMetrics: () => ({ falling: value-- }) },
    )
    await made.train()
    const names = (await readdir(folder)).filter(name => name.startsWith('checkpoint'))
    expect(names.sort()).toEqual(['checkpoint-2', 'checkpoint-6', 'checkpoint-8'])
  })

  it('that is damaged is passed over for the one before, with a warning', async () => {
    const folder = join(await temporaryFolder(), 'out')
    await make(folder, steps).train()
    const expected = await contentsOf(folder)
    const damage = async (step: number, name: string) => {
      const path = join(folder, `checkpoint-${step}`, name)
      const bytes = await readFile(path)
      bytes[bytes.length - 1] ^= 1
      await writeFile(path, bytes)
    }
    await damage(8, 'trainable.safetensors')
    await rm(join(folder, 'checkpoint-6/optimizer.safetensors'))
    const warnings: string[] = []
    const onWarning = (message: string) => void warnings.push(message)
    await make(folder, { ...steps, saveTotalLimit: 4 }, { onWarning }).train({ resumeFromCheckpoint: true })
    expect(warnings).toEqual([
      expect.stringMatching(
        /checkpoint-8 is damaged: trainable.safetensors is not what was written.*from .*checkpoint-4/,
      ),
      expect.stringMatching(/checkpoint-6 is damaged: optimizer.safetensors is missing/),
    ])
    expect(await contentsOf(folder)).toEqual(expected)
    for (const step of [2, 4, 6, 8]) await damage(step, 'checkpoint.json')
    await expect(make(folder, steps).train({ resumeFromCheckpoint: true })).rejects.toThrow(
      /no checkpoint there can be/,
    )
  })

  it('of another training is refused, and what differs is named', async () => {
    const folder = join(await temporaryFolder(), 'out')
    await make(folder, { ...steps, maxSteps: 4 }).train()
    const resume = (args: TrainingArgumentsOptions, options?: Options) =>
      make(folder, { ...steps, maxSteps: 4, ...args }, options).train({ resumeFromCheckpoint: true })
    await expect(resume({ maxSteps: 6, seed: 3 })).rejects.toThrow(
      /another training: maxSteps was 4 and is 6; seed was 42 and is 3\. /,
    )
    await expect(resume({}, { trainDataset: bags(22, 7) })).rejects.toThrow(/training data has other examples/)
    await expect(resume({}, { trainDataset: bags(20) })).rejects.toThrow(/had 22 examples and has 20/)
    const other = new BagClassifier({ vocabulary: 13 })
    await expect(resume({}, { model: other })).rejects.toThrow(/other parameters train/)
    await expect(resume({ saveSteps: 3, saveTotalLimit: 1, keepPacked: true })).resolves.toMatchObject({
      globalStep: 4,
    })
    const warnings: string[] = []
    await resume({ mode: 'small' }, { onWarning: message => void warnings.push(message) })
    expect(warnings).toEqual([expect.stringMatching(/mode was "fast" and is "small".*last bits/)])
  })

  it('is refused where the base or the frozen values of the adapter are others', async () => {
    const folder = join(await temporaryFolder(), 'out')
    const model = (baseSeed: number, seed: number) => {
      const base = new BagClassifier()
      base.initialize(baseSeed)
      return getPeftModel(base, new VeraConfig({ r: 4, targetModules: ['dense'], projectionPrngKey: seed }))
    }
    const run = (given: TrainableModel) =>
      make(folder, { ...steps, maxSteps: 2 }, { model: given }).train({ resumeFromCheckpoint: existsSync(folder) })
    await run(model(1, 1))
    await expect(run(model(2, 1))).rejects.toThrow(/values that do not train differ/)
    await expect(run(model(1, 2))).rejects.toThrow(/values that do not train differ/)
    await run(model(1, 1))
  })

  it('can be named, and goes on in another folder', async () => {
    const folder = await temporaryFolder()
    await make(join(folder, 'a'), steps).train()
    const from = join(folder, 'a/checkpoint-4')
    const told: string[] = []
    const callbacks = [{ onResume: ({ step }: { step: number }) => void told.push(`from ${step}`) }]
    await make(join(folder, 'b'), steps, { callbacks }).train({ resumeFromCheckpoint: from })
    expect(told).toEqual(['from 4'])
    const [a, b] = await Promise.all(['a', 'b'].map(name => contentsOf(join(folder, name))))
    expect(b['model.safetensors']).toBe(a['model.safetensors'])
    await make(join(folder, 'a'), steps).train({ resumeFromCheckpoint: from })
    expect(await contentsOf(join(folder, 'a'))).toEqual(a)
    await expect(make(join(folder, 'c'), steps).train({ resumeFromCheckpoint: folder })).rejects.toThrow(
      CheckpointError,
    )
    expect(existsSync(join(folder, 'c'))).toBe(false)
  })

  it('that is not there yet is no error: the training begins, and says so', async () => {
    const folder = join(await temporaryFolder(), 'out')
    await mkdir(join(folder, '.checkpoint-2.0123456789ab.tmp'), { recursive: true })
    const warnings: string[] = []
    const made = make(folder, { ...steps, maxSteps: 2 }, { onWarning: message => void warnings.push(message) })
    await made.train({ resumeFromCheckpoint: true })
    expect(warnings).toEqual([expect.stringMatching(/no checkpoint in .*: the training starts anew/)])
    expect((await readdir(folder)).sort()).toEqual(['checkpoint-2', 'model.safetensors'])
  })

  it('never replaces a finished model that has none', async () => {
    const folder = join(await temporaryFolder(), 'out')
    await make(folder, { maxSteps: 1 }).train()
    await expect(make(folder, { maxSteps: 1 }).train({ resumeFromCheckpoint: true })).rejects.toThrow(/no checkpoint/)
  })

  it('goes, with those before it, when the folder is overwritten by a new training', async () => {
    const folder = join(await temporaryFolder(), 'out')
    await make(folder, steps).train()
    await expect(make(folder, steps).train()).rejects.toThrow(
      /not empty.*the last of step 8.*resumeFromCheckpoint: true/,
    )
    await make(folder, { maxSteps: 1, overwriteOutputDir: true }).train()
    expect(await readdir(folder)).toEqual(['model.safetensors'])
  })

  it('is written when a callback asks for it', async () => {
    const folder = join(await temporaryFolder(), 'out')
    const callbacks: Options['callbacks'] = [
      {
        onStepEnd: ({ step }, control) => {
          control.shouldSave = step === 3
        },
      },
    ]
    await make(folder, { maxSteps: 5 }, { callbacks }).train()
    expect((await readdir(folder)).sort()).toEqual(['checkpoint-3', 'model.safetensors'])
  })

  it('that cannot be written ends the training, spares the last one and leaves no remains', async () => {
    const folder = join(await temporaryFolder(), 'out')
    let isFull = false
    const saveBeside = async (to: string) => {
      await writeFile(join(to, 'half'), '')
      if (isFull) throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
    }
    const callbacks = [{ onSave: ({ step }: { step: number }) => void (isFull = step === 4) }]
    const error = await make(folder, steps, { saveBeside, callbacks })
      .train()
      .catch(error => error)
    expect(error).toBeInstanceOf(CheckpointError)
    expect(error.message).toMatch(
      /checkpoint of step 6 .*ENOSPC.*checkpoint-4 is complete; resumeFromCheckpoint: true.*free some space/,
    )
    expect((await readdir(folder)).sort()).toEqual(['checkpoint-2', 'checkpoint-4'])
    isFull = false
    expect((await make(folder, steps, { saveBeside }).train({ resumeFromCheckpoint: true })).globalStep).toBe(8)
  })
})
