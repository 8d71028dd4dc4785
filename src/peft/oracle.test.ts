/** @file Every LoRA case of the oracle: loaded, computed, trained, merged and saved as Python does it. */
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { oracleCase, skippable } from '../../test/shared.ts'
import { temporaryFolder } from '../../test/temporary.ts'
import type { Tensor } from '../graph/index.ts'
import { compile } from '../models/function.ts'
import {
  AutoModelForCausalLM,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
  type PreTrainedModel,
} from '../models/index.ts'
import { goldenTensors, worstDeviation } from '../models/testing/oracle.ts'
import type { Module } from '../nn/index.ts'
import { floats, type TensorData } from '../runtime/index.ts'
import { AdamW, valueAndGrad } from '../training/index.ts'
import { SafetensorsFile } from '../weights/index.ts'
import { PeftModel } from './index.ts'

const CASES = [
  'lora-bert-seqcls',
  'lora-llama',
  'lora-qwen2',
  'lora-gpt2-conv1d',
  'lora-embedding-llama',
  'lora-bias-all',
  'lora-bias-lora-only',
  'lora-rslora',
  'lora-rank-alpha-pattern',
  'lora-layers-to-transform',
  'lora-exclude',
  'lora-modules-to-save',
  'lora-all-linear-llama',
  'lora-lora-bias',
  'lora-dora-llama',
  'lora-pissa',
  'lora-olora',
  'lora-mica',
  'lora-trainable-tokens',
  'lora-layer-replication',
  'lora-roberta-seqcls',
  'lora-t5-regex',
  'lora-mt5',
  'lora-moe-target-parameters',
  'ia3-llama',
  'ia3-bert',
  'ln-tuning',
  'ln-tuning-bert',
  'trainable-tokens',
  'vera',
  'adalora',
]

/** Cases whose reference was trained without the call that tells PEFT's method of a step; here no call is needed. */
const UNTOLD = ['adalora']

/** Cases that PEFT merges into a model that computes something else; here they are refused (see defects.test.ts). */
const UNMERGED = ['lora-layer-replication']

interface Golden {
  base: string
  kind: 'causal' | 'seqcls' | 'seq2seq'
  trainable: number
  all: number
  trainable_names: string[]
  atol: number
  rtol: number
  train: { lr: number; betas: [number, number]; eps: number; weight_decay: number; steps: number; losses: number[] }
}

const AUTO_CLASSES = {
  causal: AutoModelForCausalLM,
  seqcls: AutoModelForSequenceClassification,
  seq2seq: AutoModelForSeq2SeqLM,
}

/** Which positions of the logits count: those of a decoder behind an encoder are not those of the encoder's mask. */
const maskOfLogits = ({ kind }: Golden, inputs: Record<string, TensorData>) =>
  kind === 'seq2seq' ? inputs.decoder_attention_mask : inputs.attention_mask

/** Gradients below this are rounding noise of float32 at the scale of these losses. */
const NOISE = 1e-8

/** The tokens that count: padded positions of a decoder's logits are arbitrary. */
function visible(logits: TensorData, mask: TensorData | undefined): Float32Array {
  const values = floats(logits)
  if (!mask || logits.dims.length < 3) return values
  if (logits.dims.slice(0, 2).join() !== mask.dims.join())
    throw new Error(`${logits.dims} does not fit the mask ${mask.dims}`)
  const width = logits.dims[2]
  const kept: number[] = []
  mask.data.forEach((on, i) => {
    if (Number(on) === 1) kept.push(...values.subarray(i * width, (i + 1) * width))
  })
  return Float32Array.from(kept)
}

const flat = (data: Float32Array): TensorData => ({ dtype: 'float32', dims: [data.length], data })

describe.each(CASES)('%s', name => {
  const folder = oracleCase('adapters', name)
  const golden: Golden | undefined = folder && JSON.parse(readFileSync(join(folder, 'golden.json'), 'utf8'))
  const base = golden && oracleCase('models', golden.base)
  const missing = !base && 'no copy of the oracle here'

  const open = async (options: { isTrainable?: boolean } = {}) => {
    const auto = AUTO_CLASSES[golden!.kind]
    const model = await auto.fromPretrained(base!, { onWarning: () => {} })
    const peft = await PeftModel.fromPretrained(model, folder!, options)
    return { model, peft, inputs: goldenTensors(folder!, 'in.'), out: goldenTensors(folder!, 'out.') }
  }
  const logitsOf = async (module: Module, inputs: Record<string, TensorData>) => {
    const forward = module as unknown as PreTrainedModel
    await using run = await compile(module, (_, symbolic) => {
      const { logits, loss } = forward.forward(symbolic)
      return { logits: logits as Tensor, loss: loss as Tensor }
    })
    return await run(inputs)
  }
  const close = (got: TensorData, expected: TensorData, mask?: TensorData) => {
    const [a, b] = [visible(got, mask), visible(expected, mask)]
    expect(worstDeviation(flat(a), flat(b), golden!)).toBeLessThanOrEqual(1)
  }

  it.skipIf(missing)(
    skippable(`oracle: ${name} gives the logits and the loss of PEFT, and the base's with the adapter off`, missing),
    async () => {
      const { model, peft, inputs, out } = await open()
      const got = await logitsOf(peft, inputs)
      close(got.logits, out.logits, maskOfLogits(golden!, inputs))
      close(got.loss, { ...out.loss, dims: [] })
      const off = await peft.disableAdapter(() => logitsOf(peft, inputs))
      close(off.logits, out.base_logits, maskOfLogits(golden!, inputs))
      expect((await logitsOf(model, inputs)).logits).toEqual(off.logits)
    },
  )

  it.skipIf(missing)(
    skippable(`oracle: ${name} trains the same parameters with the same gradients and four AdamW steps`, missing),
    async () => {
      const { peft, inputs } = await open({ isTrainable: true })
      const trained = [...peft.namedParameters()]
        .filter(([, parameter]) => parameter.requiresGrad)
        .map(([path]) => path)
      expect(new Set(trained)).toEqual(new Set(golden!.trainable_names))
      expect(peft.getNbTrainableParameters()).toEqual({ trainable: golden!.trainable, all: golden!.all })
      if (UNTOLD.includes(name)) for (const parameter of peft.parameters()) parameter.hook = undefined
      const step = await valueAndGrad(peft as Module, (_, symbolic) => peft.forward(symbolic).loss as Tensor)
      const { lr, betas, eps, weight_decay, steps, losses } = golden!.train
      const optimizer = new AdamW(
        [...peft.namedParameters()].filter(([, p]) => p.requiresGrad),
        { lr, betas, eps, weightDecay: weight_decay },
      )
      const keys = peft.stateDict()
      for (let i = 0; i < steps; i++) {
        const { value, grads } = await step(inputs)
        expect(Math.abs(value - losses[i])).toBeLessThan(1e-4)
        if (i === 0) {
          for (const [key, expected] of Object.entries(goldenTensors(folder!, 'grad.'))) {
            const slice = grads.parameters.slices.find(({ parameter }) => parameter === keys.get(key))
            if (!slice) continue
            const got = grads.data.subarray(slice.offset, slice.offset + slice.size)
            expect(worstDeviation(flat(got), flat(floats(expected)), golden!), key).toBeLessThanOrEqual(1)
          }
        }
        optimizer.step(grads)
      }
      const gradients = goldenTensors(folder!, 'grad.')
      for (const [key, expected] of Object.entries(goldenTensors(folder!, 'after.'))) {
        const got = (await keys.get(key)!.read()).slice()
        const reference = floats(expected)
        // The gradient of a key's bias is zero: a softmax does not see it. Both sides compute rounding noise, of which
        // Adam makes whole steps in either direction, so those elements are only held to the length of the steps.
        const gradient = gradients[key] && floats(gradients[key])
        gradient?.forEach((value, i) => {
          if (Math.abs(value) > NOISE) return
          expect(Math.abs(got[i] - reference[i])).toBeLessThanOrEqual(2 * steps * lr)
          got[i] = reference[i]
        })
        expect(worstDeviation(flat(got), flat(reference), golden!), key).toBeLessThanOrEqual(1)
      }
      await step.dispose()
    },
  )

  it.skipIf(missing)(skippable(`oracle: ${name} merges into a plain model with the same logits`, missing), async () => {
    const { model, peft, inputs, out } = await open()
    if (UNMERGED.includes(name)) return void (await expect(peft.mergeAndUnload()).rejects.toThrow(/cannot be merged/))
    const merged = await peft.mergeAndUnload()
    expect(merged.constructor).toBe(model.constructor)
    expect([...merged.namedParameters()].map(([path]) => path)).toEqual(
      [...model.namedParameters()].map(([path]) => path),
    )
    close((await logitsOf(merged, inputs)).logits, out.merged_logits, maskOfLogits(golden!, inputs))
  })

  it.skipIf(missing)(
    skippable(`oracle: ${name} is saved with the keys, values and options of PEFT's own file`, missing),
    async () => {
      const { peft } = await open()
      const target = await temporaryFolder()
      await peft.savePretrained(target)
      await using theirs = await SafetensorsFile.open(join(folder!, 'adapter_model.safetensors'))
      await using ours = await SafetensorsFile.open(join(target, 'adapter_model.safetensors'))
      expect(ours.names).toEqual(theirs.names)
      expect(await readFile(join(target, 'adapter_model.safetensors'))).toEqual(
        await readFile(join(folder!, 'adapter_model.safetensors')),
      )
      // Python writes sets as lists, in no order.
      const json = (path: string) =>
        Object.fromEntries(
          Object.entries(JSON.parse(readFileSync(join(path, 'adapter_config.json'), 'utf8'))).map(([key, value]) => [
            key,
            Array.isArray(value) && /_modules$|modules_to_save/.test(key) ? new Set(value) : value,
          ]),
        )
      expect(json(target)).toEqual(json(folder!))
    },
  )
})
