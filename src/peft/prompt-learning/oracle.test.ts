/** @file Prompt tuning, P-tuning and prefix tuning against PEFT: loaded, computed, trained and saved as Python does it. */
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { oracleCase, skippable } from '../../../test/shared.ts'
import { temporaryFolder } from '../../../test/temporary.ts'
import type { Tensor } from '../../graph/index.ts'
import { compile } from '../../models/function.ts'
import type { PreTrainedModel } from '../../models/index.ts'
import { AUTO_CLASSES, goldenTensors, worstDeviation } from '../../models/testing/oracle.ts'
import type { Module } from '../../nn/index.ts'
import { floats, type TensorData } from '../../runtime/index.ts'
import { AdamW, valueAndGrad } from '../../training/index.ts'
import { SafetensorsFile } from '../../weights/index.ts'
import { type AnyPeftConfig, getPeftModel, loadPeftConfig, PeftModel } from '../index.ts'

const CASES = [
  'prompt-tuning',
  'prompt-tuning-bert',
  'prompt-tuning-t5',
  'prefix-tuning',
  'prefix-tuning-bert',
  'prefix-tuning-t5',
  'prefix-tuning-projection',
  'p-tuning-mlp',
  'p-tuning-lstm',
]

interface Golden {
  base: string
  kind: string
  trainable: number
  all: number
  trainable_names: string[]
  atol: number
  rtol: number
  train: { lr: number; betas: [number, number]; eps: number; weight_decay: number; steps: number; losses: number[] }
}

/** Gradients below this are rounding noise of float32 at the scale of these losses. */
const NOISE = 1e-8

const flat = (data: Float32Array): TensorData => ({ dtype: 'float32', dims: [data.length], data })

/** PEFT puts nothing into the tree for these methods, so that its names have one part less. */
const asInPeft = (name: string) => name.replace('base_model.model.', 'base_model.')

describe.each(CASES)('%s', name => {
  const folder = oracleCase('adapters', name)
  const golden: Golden | undefined = folder && JSON.parse(readFileSync(join(folder, 'golden.json'), 'utf8'))
  const base = golden && oracleCase('models', golden.base)
  const missing = !base && 'no copy of the oracle here'

  const openBase = () => AUTO_CLASSES[golden!.kind].fromPretrained(base!, { onWarning: () => {} })
  const open = async () => PeftModel.fromPretrained(await openBase(), folder!)

  /** An adapter in training: with the values of PEFT's encoder, of which its file holds only what it computes. */
  const openForTraining = async () => {
    const config = (await loadPeftConfig(folder!)).with({ inferenceMode: false }) as AnyPeftConfig
    const peft = getPeftModel((await openBase()) as Module, config)
    const own = new Map([...peft.namedParameters()].map(([path, parameter]) => [asInPeft(path), parameter]))
    const raw = goldenTensors(folder!, 'raw.')
    for (const [path, values] of Object.entries(raw)) own.get(path)!.data = floats(values).slice()
    if (Object.keys(raw).length === 0) {
      await using file = await SafetensorsFile.open(join(folder!, 'adapter_model.safetensors'))
      for (const [key, parameter] of peft.stateDict()) parameter.data = await file.readFloat32(key)
    }
    return { peft, own }
  }

  const outputsOf = async (module: Module, inputs: Record<string, TensorData>) => {
    const forward = module as unknown as PreTrainedModel
    await using run = await compile(module, (_, symbolic) => {
      const { logits, loss } = forward.forward(symbolic)
      return { logits: logits as Tensor, loss: loss as Tensor }
    })
    return await run(inputs)
  }

  /** Compares logits where the text has tokens; virtual tokens in front of it count too. */
  const close = (got: TensorData, expected: TensorData, mask?: TensorData) => {
    expect(got.dims).toEqual(expected.dims)
    const isTokenwise = expected.dims.length === 3 && golden!.kind === 'causal'
    if (!mask || !isTokenwise) return expect(worstDeviation(got, expected, golden!)).toBeLessThanOrEqual(1)
    const [batch, length] = mask.dims
    const virtual = expected.dims[1] - length
    const rows: bigint[] = []
    for (let row = 0; row < batch; row++) {
      rows.push(...Array<bigint>(virtual).fill(1n))
      rows.push(...Array.from({ length }, (_, i) => BigInt(mask.data[row * length + i])))
    }
    return expect(worstDeviation(got, expected, golden!, rows)).toBeLessThanOrEqual(1)
  }

  it.skipIf(missing)(
    skippable(`oracle: ${name} gives the logits and the loss of PEFT, and the base's with the adapter off`, missing),
    async () => {
      const peft = await open()
      const inputs = goldenTensors(folder!, 'in.')
      const out = goldenTensors(folder!, 'out.')
      const got = await outputsOf(peft, inputs)
      close(got.logits, out.logits, inputs.attention_mask)
      close(got.loss, { ...out.loss, dims: [] })
      const off = await peft.disableAdapter(() => outputsOf(peft, inputs))
      close(off.logits, out.base_logits, inputs.attention_mask)
    },
  )

  it.skipIf(missing)(
    skippable(`oracle: ${name} trains the same parameters with the same gradients and four AdamW steps`, missing),
    async () => {
      const { peft, own } = await openForTraining()
      const trained = [...own].filter(([, parameter]) => parameter.requiresGrad)
      expect(new Set(trained.map(([path]) => path))).toEqual(new Set(golden!.trainable_names))
      expect(peft.getNbTrainableParameters()).toEqual({ trainable: golden!.trainable, all: golden!.all })
      const gradients = { ...goldenTensors(folder!, 'grad.'), ...goldenTensors(folder!, 'rawgrad.') }
      const keys = new Map([...peft.stateDict(), ...own])
      const step = await valueAndGrad(peft as Module, (_, symbolic) => peft.forward(symbolic).loss as Tensor)
      const { lr, betas, eps, weight_decay, steps, losses } = golden!.train
      const optimizer = new AdamW(trained, { lr, betas, eps, weightDecay: weight_decay })
      const inputs = goldenTensors(folder!, 'in.')
      for (let i = 0; i < steps; i++) {
        const { value, grads } = await step(inputs)
        expect(Math.abs(value - losses[i])).toBeLessThan(1e-4)
        for (const [key, expected] of i === 0 ? Object.entries(gradients) : []) {
          const slice = grads.parameters.slices.find(({ parameter }) => parameter === keys.get(key))
          expect(slice, key).toBeDefined()
          const got = grads.data.subarray(slice!.offset, slice!.offset + slice!.size)
          expect(worstDeviation(flat(got), flat(floats(expected)), golden!), key).toBeLessThanOrEqual(1)
        }
        optimizer.step(grads)
      }
      await step.dispose()
      const after = peft.stateDict()
      for (const [key, expected] of Object.entries(goldenTensors(folder!, 'after.'))) {
        const got = (await after.get(key)!.read()).slice()
        const reference = floats(expected)
        // Of a gradient that is rounding noise on both sides Adam makes whole steps in either direction.
        const gradient = gradients[key] && floats(gradients[key])
        gradient?.forEach((value, i) => {
          if (Math.abs(value) > NOISE) return
          expect(Math.abs(got[i] - reference[i])).toBeLessThanOrEqual(2 * steps * lr)
          got[i] = reference[i]
        })
        expect(worstDeviation(flat(got), flat(reference), golden!), key).toBeLessThanOrEqual(1)
      }
    },
  )

  it.skipIf(missing)(
    skippable(`oracle: ${name} is saved with the keys, bytes and options of PEFT's own file`, missing),
    async () => {
      const target = await temporaryFolder()
      await (await open()).savePretrained(target)
      const bytes = (path: string) => readFile(join(path, 'adapter_model.safetensors'))
      expect(await bytes(target)).toEqual(await bytes(folder!))
      // Python names each head twice.
      const json = (path: string) => {
        const options = JSON.parse(readFileSync(join(path, 'adapter_config.json'), 'utf8'))
        return { ...options, modules_to_save: options.modules_to_save && new Set(options.modules_to_save) }
      }
      expect(json(target)).toEqual(json(folder!))
    },
  )
})
