/** @file Kept activations: the same training as without, wherever they lie; refused where it would be another. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { temporaryFolder } from '../../../test/temporary.ts'
import { type Feature, padBatch } from '../../data/index.ts'
import { cast, crossEntropy, mean, mul, sub, sum, type Tensor, tanh, unsqueeze } from '../../graph/index.ts'
import type { InputSpecs } from '../../models/function.ts'
import {
  AutoConfig,
  AutoModelForCausalLM,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
  type PreTrainedModel,
} from '../../models/index.ts'
import { Embedding, Linear, Module } from '../../nn/index.ts'
import { getPeftModel, LoraConfig, PromptTuningConfig } from '../../peft/index.ts'
import { Engine, NodeBackend } from '../../runtime/index.ts'
import { Random } from '../../util/random.ts'
import type { TrainingArgumentsOptions } from '../arguments.ts'
import type { ActivationReport } from '../callbacks.ts'
import type { TrainableModel } from '../model.ts'
import { setTrainable, trainHead } from '../parameters.ts'
import { contentsOf, pauseAfter } from '../testing/resuming.ts'
import { Trainer, type TrainerOptions } from '../trainer.ts'
import { FileStore } from './file-store.ts'

const engine = new Engine(new NodeBackend())
afterAll(() => engine.dispose())

const SIZES = {
  ...{ vocab_size: 40, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 3, num_attention_heads: 2 },
  ...{ max_position_embeddings: 24, pad_token_id: 0, initializer_range: 0.3 },
}
const NO_DROPOUT = { hidden_dropout_prob: 0, attention_probs_dropout_prob: 0 }

function texts(count: number, labelled: 'class' | 'tokens'): Feature[] {
  const random = new Random(5)
  return Array.from({ length: count }, () => {
    const inputIds = Array.from({ length: 3 + random.integer(15) }, () => 2 + random.integer(38))
    return { inputIds, labels: labelled === 'class' ? inputIds[0] % 2 : inputIds }
  })
}

function llama(json: object = {}): PreTrainedModel {
  const config = { model_type: 'llama', ...SIZES, num_key_value_heads: 1, tie_word_embeddings: false, ...json }
  const model = AutoModelForCausalLM.fromConfig(AutoConfig.fromJSON(config))
  model.initialize(1)
  return model
}

const topLora = (options: object = {}, model = llama()) =>
  getPeftModel(
    model,
    new LoraConfig({
      ...{ r: 2, targetModules: ['q_proj', 'v_proj'], layersToTransform: [2], taskType: 'CAUSAL_LM' },
      ...options,
    }),
    { seed: 3 },
  )

function bert(json: object = {}): PreTrainedModel {
  const config = { model_type: 'bert', ...SIZES, type_vocab_size: 2, ...NO_DROPOUT, ...json }
  const model = AutoModelForSequenceClassification.fromConfig(AutoConfig.fromJSON(config))
  model.initialize(1)
  trainHead(model as PreTrainedModel & { baseModelPrefix: string })
  return model
}

interface Curve {
  losses: number[]
  norms: number[]
  report: ActivationReport | undefined
  warnings: string[]
}

async function train(
  model: TrainableModel,
  trainDataset: Feature[],
  args: TrainingArgumentsOptions,
  options: Partial<TrainerOptions> = {},
): Promise<Curve> {
  const curve: Curve = { losses: [], norms: [], report: undefined, warnings: [] }
  const trainer = new Trainer({
    ...{ model, trainDataset, engine, padTokenId: 0, ...options },
    onWarning: message => void curve.warnings.push(message),
    callbacks: [
      {
        onStepEnd: ({ loss, gradNorm }) => {
          curve.losses.push(loss)
          curve.norms.push(gradNorm)
        },
        onActivationsKept: report => {
          curve.report = report
        },
      },
    ],
    args: { learningRate: 1e-2, perDeviceTrainBatchSize: 4, numTrainEpochs: 3, threads: 1, ...args },
  })
  await trainer.train()
  return curve
}

function expectSame(kept: Curve, computed: Curve) {
  expect(computed.report).toBeUndefined()
  expect(kept.warnings).toEqual([])
  expect(kept.losses).toHaveLength(computed.losses.length)
  kept.losses.forEach((loss, i) => {
    expect(Math.abs(loss - computed.losses[i])).toBeLessThan(1e-5 * Math.abs(computed.losses[i]))
    expect(Math.abs(kept.norms[i] - computed.norms[i])).toBeLessThan(1e-3 * computed.norms[i])
  })
}

const MODELS: [string, () => TrainableModel, 'class' | 'tokens', number, TrainingArgumentsOptions?][] = [
  ['LoRA in the top layer of a decoder, texts in rows of their own', topLora, 'tokens', 16, { packing: false }],
  ['LoRA in the top layer of a decoder, texts that share rows', topLora, 'tokens', 16],
  [
    'LoRA with dropout of its own, and a model that computes layers twice',
    () => topLora({ loraDropout: 0.3 }),
    'tokens',
    16,
    { gradientCheckpointing: true, padToMultipleOf: 8, gradientAccumulationSteps: 2, packing: false },
  ],
  ['the head of a classifier', bert, 'class', 16],
  [
    'biases of the top layer',
    () => {
      const model = bert()
      setTrainable(model, name => /layer\.2\..*bias$|classifier/.test(name))
      return model
    },
    'class',
    16,
    { mode: 'small', groupByLength: false },
  ],
]

describe('kept activations', () => {
  it.each(MODELS)('train as if they were computed: %s', async (_, model, labelled, width, args = {}) => {
    const data = texts(15, labelled)
    const computed = await train(model(), data, { ...args, cacheActivations: false })
    const kept = await train(model(), data, { ...args, cacheActivations: 'memory' })
    expectSame(kept, computed)
    const tokens = data.reduce((sum, { inputIds }) => sum + inputIds.length, 0)
    // Of the head, what it reads of the first token only.
    const rows = model === bert ? data.length : tokens
    expect(kept.report).toMatchObject({ where: 'memory', examples: 15, bytes: 4 * width * rows })
    expect(kept.report!.saved).toBeGreaterThan(0.1)
    expect(kept.losses.at(-1)).not.toBe(kept.losses[0])
  })

  it('of an encoder serve a decoder that trains', async () => {
    const t5 = () => {
      const config = {
        ...{ model_type: 't5', d_model: 16, d_kv: 8, d_ff: 32, num_layers: 3, num_decoder_layers: 1, num_heads: 2 },
        ...{ vocab_size: 40, pad_token_id: 0, decoder_start_token_id: 0, dropout_rate: 0 },
      }
      const model = AutoModelForSeq2SeqLM.fromConfig(AutoConfig.fromJSON(config))
      model.initialize(1)
      setTrainable(model, name => name.startsWith('decoder.block') || name === 'lm_head.weight')
      return model
    }
    const data = texts(10, 'tokens').map(({ inputIds }) => ({
      inputIds,
      labels: inputIds.slice(0, 2 + (inputIds[0] % 6)),
    }))
    const computed = await train(t5(), data, { cacheActivations: false })
    const kept = await train(t5(), data, { cacheActivations: 'memory' })
    expectSame(kept, computed)
  })

  it('of batches that are filled up on the left, by a collator of one’s own, serve where positions do not count', async () => {
    // Else padding would predict the first token.
    const data = texts(12, 'tokens').map(({ inputIds }) => ({ inputIds, labels: [-100, ...inputIds.slice(1)] }))
    const dataCollator = (examples: readonly Feature[]) => ({
      ...padBatch(examples, { padTokenId: 0, paddingSide: 'left' }),
    })
    const options = { dataCollator } as unknown as Partial<TrainerOptions>
    const computed = await train(topLora(), data, { cacheActivations: false }, options)
    expectSame(await train(topLora(), data, { cacheActivations: 'memory' }, options), computed)

    const classes = texts(12, 'class')
    const model = bert()
    // The decision reads more than the first token, whose place is that of padding here.
    setTrainable(model, name => /layer\.2|classifier/.test(name))
    const given = await train(model, classes, { cacheActivations: 'memory' }, options)
    expect(given.warnings).toEqual([expect.stringMatching(/not kept.*depends on the others of its batch/)])
  })

  it('lie in a file where asked for, or where memory does not suffice, and nothing is left of it', async () => {
    const folder = await temporaryFolder()
    const data = texts(15, 'tokens')
    const create = vi.spyOn(FileStore, 'create')
    const seen: string[] = []
    const memory = await train(topLora(), data, { cacheActivations: 'memory' })
    for (const args of [
      { cacheActivations: 'disk' },
      { cacheActivations: 'memory', cacheActivationsMemory: 0.001 },
    ] as const) {
      const outputDir = join(folder, args.cacheActivations)
      const disk = await train(topLora(), data, { ...args, outputDir }, {})
      seen.push(...(await readdir(outputDir)).filter(name => name.includes('activations')))
      expect(disk.report).toMatchObject({ where: 'disk', bytes: memory.report!.bytes })
      expect(disk.losses).toEqual(memory.losses)
      if (args.cacheActivations === 'disk') expect(disk.warnings).toEqual([])
      else
        expect(disk.warnings).toEqual([expect.stringMatching(/take 0\.\d MB.*cacheActivationsMemory is .*in a file/)])
      expect(create).toHaveBeenLastCalledWith(outputDir)
    }
    expect(seen).toEqual([])
    create.mockRestore()
  })

  it('leave no file behind when the training fails, and are given up when the disk is full', async () => {
    const folder = await temporaryFolder()
    const outputDir = join(folder, 'out')
    const fails = { onLog: () => Promise.reject(new Error('no more')) }
    const failing = new Trainer({
      ...{ model: topLora(), trainDataset: texts(8, 'tokens'), engine, padTokenId: 0, callbacks: [fails] },
      args: { cacheActivations: 'disk', outputDir, perDeviceTrainBatchSize: 4, loggingSteps: 1, threads: 1 },
    })
    await expect(failing.train()).rejects.toThrow('no more')
    expect(await readdir(folder, { recursive: true })).toEqual([])

    const full = Object.assign(new Error('ENOSPC: no space left on device, write'), {
      code: 'ENOSPC',
      syscall: 'write',
    })
    const write = vi.spyOn(FileStore.prototype, 'write').mockRejectedValue(full)
    const data = texts(8, 'tokens')
    const given = await train(topLora(), data, { cacheActivations: 'disk' })
    write.mockRestore()
    expect(given.warnings).toEqual([
      expect.stringMatching(/are not kept, though .*: they could not be written to disk \(ENOSPC/),
    ])
    expect(given.losses).toEqual((await train(topLora(), data, { cacheActivations: false })).losses)
  })

  it('are computed anew when a training goes on, which ends with the same bytes', async () => {
    const folder = await temporaryFolder()
    const data = texts(14, 'tokens')
    const make = (name: string, options: Partial<TrainerOptions> = {}, args: TrainingArgumentsOptions = {}) =>
      new Trainer({
        ...{ model: topLora(), trainDataset: data, engine, padTokenId: 0, ...options },
        args: {
          ...{ cacheActivations: 'memory', numTrainEpochs: 2, perDeviceTrainBatchSize: 4, threads: 1 },
          ...{ learningRate: 1e-2, outputDir: join(folder, name), ...args },
        },
      })
    await make('whole').train()
    const { pausedAt } = await make('parted', { callbacks: pauseAfter(5) }).train()
    expect(pausedAt).toMatch(/checkpoint-5$/)
    const warnings: string[] = []
    const onWarning = (message: string) => void warnings.push(message)
    await make('parted', { onWarning }, { cacheActivations: 'disk' }).train({ resumeFromCheckpoint: true })
    expect(warnings).toEqual([])
    expect(await contentsOf(join(folder, 'parted'))).toEqual(await contentsOf(join(folder, 'whole')))

    await make('other', { callbacks: pauseAfter(5) }).train()
    await make('other', { onWarning }, { cacheActivations: false }).train({ resumeFromCheckpoint: true })
    expect(warnings).toEqual([expect.stringMatching(/keptActivations was true and is not given.*last bits/)])
  })

  it('are a matter of seconds that a pause does not wait for', async () => {
    const controller = new AbortController()
    controller.abort('enough')
    const trainer = new Trainer({
      ...{ model: topLora(), trainDataset: texts(8, 'tokens'), engine, padTokenId: 0 },
      args: { cacheActivations: 'memory', threads: 1 },
    })
    await expect(trainer.train({ signal: controller.signal })).rejects.toThrow(/after step 0.*nothing was saved/)
  })
})

describe('activations are not kept, and the log says why', () => {
  const refusal = async (model: TrainableModel, data: Feature[], options: Partial<TrainerOptions> = {}) => {
    const curve = await train(model, data, { cacheActivations: 'memory', maxSteps: 2 }, options)
    expect(curve.report).toBeUndefined()
    expect(curve.warnings).toHaveLength(1)
    return curve.warnings[0]
  }

  it('where dropout makes frozen layers vary', async () => {
    const model = bert({ hidden_dropout_prob: 0.1 })
    expect(await refusal(model, texts(8, 'class'))).toMatch(
      /are not kept, though cacheActivations is 'memory': dropout is active in the frozen layers.*hidden_dropout/,
    )
  })

  it('where what trains stands in front of everything', async () => {
    const prompts = getPeftModel(llama(), new PromptTuningConfig({ numVirtualTokens: 2, taskType: 'CAUSAL_LM' }))
    expect(await refusal(prompts, texts(8, 'tokens'))).toMatch(/almost everything .* depends on what trains/)
    expect(await refusal(topLora({ layersToTransform: [0] }), texts(8, 'tokens'))).toMatch(/depends on what trains/)
  })

  it('where layers read padding, or the other examples of a batch', async () => {
    for (const blur of ['padding', 'padding in what trains', 'batch'] as const) {
      expect(await refusal(new Blurred(blur), texts(8, 'class'))).toMatch(/depends on the others of its batch/)
    }
    const { report } = await train(new Blurred('nothing'), texts(8, 'class'), { cacheActivations: 'memory' })
    expect(report).toBeDefined()
  })

  it('unasked where it saves too little to be worth it, without a word', async () => {
    const curve = await train(topLora(), texts(8, 'tokens'), {})
    expect(curve.report).toBeUndefined()
    expect(curve.warnings).toEqual([])
  })
})

it('activations are kept unasked where that pays: more than one pass, work enough, nothing random', async () => {
  const wide = { hidden_size: 128, intermediate_size: 512, num_hidden_layers: 4 }
  const data = Array.from({ length: 8 }, () => texts(24, 'class')).flat()
  const args: TrainingArgumentsOptions = { perDeviceTrainBatchSize: 32 }
  const kept = await train(bert(wide), data, { ...args, numTrainEpochs: 8 })
  expect(kept.report).toMatchObject({ where: 'memory', examples: data.length })
  expect(kept.report!.saved).toBeGreaterThan(0.8)
  const once = await train(bert(wide), data, { ...args, numTrainEpochs: 1 })
  expect([once.report, once.warnings]).toEqual([undefined, []])
  const varying = await train(bert({ ...wide, hidden_dropout_prob: 0.1 }), data, { ...args, maxSteps: 7 })
  expect([varying.report, varying.warnings]).toEqual([undefined, []])
})

/** What a {@link Blurred} looks at beside the tokens of a text. */
type Blur = 'nothing' | 'padding' | 'padding in what trains' | 'batch'

/** A classifier of sums of tokens that looks at what it should not. */
class Blurred extends Module {
  readonly task = 'SEQ_CLS'
  readonly config = { num_labels: 2, vocab_size: 40, pad_token_id: 0 }
  readonly blur: Blur
  embeddings = new Embedding(40, 16)
  dense = new Linear(16, 16)
  classifier = new Linear(16, 2)

  constructor(blur: Blur) {
    super()
    this.blur = blur
    this.initialize(2)
    setTrainable(this, name => name.startsWith('classifier'))
  }

  inputSpecs(): InputSpecs {
    const tokens = { dtype: 'int64', shape: ['batch', 'sequence'] } as const
    return { input_ids: tokens, attention_mask: tokens, labels: { dtype: 'int64', shape: ['batch'] } }
  }

  forward(inputs: Record<string, Tensor>): { loss: Tensor; logits: Tensor } {
    const { blur } = this
    const mask = unsqueeze(cast(inputs.attention_mask, 'float32'), [2])
    const tokens = this.dense.forward(this.embeddings.forward(inputs.input_ids))
    const classify = (bag: Tensor) => this.classifier.forward(bag)
    const bag = sum(blur === 'padding' ? tokens : mul(tokens, mask), [1])
    const logits =
      blur === 'padding in what trains'
        ? sum(classify(tanh(tokens)), [1])
        : classify(blur === 'batch' ? sub(bag, mean(bag, [0], true)) : bag)
    return { logits, loss: crossEntropy(logits, inputs.labels) }
  }

  async savePretrained(): Promise<void> {}
}
