/** @file Files of virtual tokens that are learnt through layers: PEFT's own, and the one beside it with the layers. */
import { existsSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../../test/temporary.ts'
import { Parameter } from '../../nn/index.ts'
import { floats, tensorData } from '../../runtime/index.ts'
import { AdamW, valueAndGrad } from '../../training/index.ts'
import { SafetensorsFile, saveFile } from '../../weights/index.ts'
import {
  type AnyPeftConfig,
  getPeftModel,
  PeftModel,
  PrefixTuningConfig,
  PromptEncoderConfig,
  PromptTuningConfig,
  setPeftModelStateDict,
} from '../index.ts'
import { difference, outputs, tiny } from './testing/tiny.ts'

const base = () => tiny('causal', 'llama')
const input_ids = tensorData('int64', [[5, 9, 2, 30, 31]])
const batch = { input_ids, labels: input_ids }

/** Takes some steps and gives the losses. */
async function train(peft: PeftModel, steps: number): Promise<number[]> {
  const trained = [...peft.namedParameters()].filter(([, parameter]) => parameter.requiresGrad)
  const optimizer = new AdamW(trained, { lr: 0.01 })
  await using step = await valueAndGrad(peft as never, (_, inputs) => peft.forward(inputs).loss!)
  const losses: number[] = []
  for (let i = 0; i < steps; i++) {
    const { value, grads } = await step(batch)
    losses.push(value)
    optimizer.step(grads)
  }
  return losses
}

const logitsOf = async (peft: PeftModel) => (await outputs(peft, { input_ids }, 'logits')).logits
const trainedNames = (peft: PeftModel) =>
  [...peft.namedParameters()].filter(([, parameter]) => parameter.requiresGrad).map(([name]) => name)

const CONFIGS: Record<string, () => AnyPeftConfig> = {
  'P-tuning by an MLP': () => new PromptEncoderConfig({ numVirtualTokens: 3, encoderHiddenSize: 8 }),
  'P-tuning by an LSTM': () =>
    new PromptEncoderConfig({ numVirtualTokens: 3, encoderHiddenSize: 8, encoderReparameterizationType: 'LSTM' }),
  'prefix tuning by an MLP': () =>
    new PrefixTuningConfig({ numVirtualTokens: 3, prefixProjection: true, encoderHiddenSize: 8 }),
}

async function trainedAndSaved(name: string) {
  const peft = getPeftModel(base(), CONFIGS[name]())
  await train(peft, 3)
  const folder = await temporaryFolder()
  await peft.savePretrained(folder)
  return { peft, folder }
}

it.each(Object.keys(CONFIGS))('%s goes on from its files with the losses that it would have had', async name => {
  const { peft, folder } = await trainedAndSaved(name)
  const back = await PeftModel.fromPretrained(base(), folder, { isTrainable: true })
  expect(trainedNames(back)).toEqual(trainedNames(peft))
  expect(await train(back, 3)).toEqual(await train(peft, 3))
})

describe.each(['P-tuning by an MLP', 'prefix tuning by an MLP'])('%s', name => {
  const saved = () => trainedAndSaved(name)

  it('leaves PEFT’s file as PEFT writes it, with the layers beside it', async () => {
    const { peft, folder } = await saved()
    expect((await readdir(folder)).sort()).toEqual([
      'README.md',
      'adapter_config.json',
      'adapter_model.safetensors',
      'prompt_encoder.safetensors',
    ])
    await using file = await SafetensorsFile.open(join(folder, 'adapter_model.safetensors'))
    expect(file.names).toEqual(['prompt_embeddings'])
    await using further = await SafetensorsFile.open(join(folder, 'prompt_encoder.safetensors'))
    const own = [...peft.namedParameters()].map(([path]) => path).filter(path => path.includes('.default.'))
    expect(new Set(further.names)).toEqual(new Set(own.map(path => path.replace('.default.', '.'))))
  })

  it('computes without the second file what it computed with it', async () => {
    const { peft, folder } = await saved()
    await rm(join(folder, 'prompt_encoder.safetensors'))
    const warnings: string[] = []
    const back = await PeftModel.fromPretrained(base(), folder, { onWarning: text => warnings.push(text) })
    expect(warnings).toEqual([])
    expect(difference(await logitsOf(back), await logitsOf(peft))).toBeLessThan(1e-5)
    expect(trainedNames(back)).toEqual([])
    expect([...back.stateDict().keys()]).toEqual(['prompt_embeddings'])
  })

  it('trains the virtual tokens themselves without the second file, and says so', async () => {
    const { folder } = await saved()
    await rm(join(folder, 'prompt_encoder.safetensors'))
    const warnings: string[] = []
    const onWarning = (text: string) => warnings.push(text)
    const back = await PeftModel.fromPretrained(base(), folder, { isTrainable: true, onWarning })
    expect(warnings.join()).toMatch(/there is no prompt_encoder.safetensors; the virtual tokens themselves are trained/)
    expect(trainedNames(back)).toEqual(['prompt_encoder.default.embedding.weight'])
    const losses = await train(back, 4)
    expect(losses[3]).toBeLessThan(losses[0])
    const second = await temporaryFolder()
    await back.savePretrained(second)
    expect(existsSync(join(second, 'prompt_encoder.safetensors'))).toBe(false)
    const again = await PeftModel.fromPretrained(base(), second, { onWarning })
    expect(difference(await logitsOf(again), await logitsOf(back))).toBe(0)
  })

  it('leaves a second file alone that does not fit the first', async () => {
    const { folder } = await saved()
    const path = join(folder, 'adapter_model.safetensors')
    const other = await (async () => {
      await using file = await SafetensorsFile.open(path)
      const { shape } = file.info('prompt_embeddings')
      const values = (await file.readFloat32('prompt_embeddings')).map(value => value + 1)
      return { name: 'prompt_embeddings', dtype: 'F32' as const, shape, bytes: values }
    })()
    await saveFile(path, [other], { format: 'pt' })
    const warnings: string[] = []
    const back = await PeftModel.fromPretrained(base(), folder, { onWarning: text => warnings.push(text) })
    expect(warnings.join()).toMatch(/prompt_encoder.safetensors does not give the "prompt_embeddings".*not used/)
    expect(await back.stateDict().get('prompt_embeddings')!.read()).toEqual(other.bytes)
  })

  it('is refused when the second file lacks a part of the layers', async () => {
    const { folder } = await saved()
    const path = join(folder, 'prompt_encoder.safetensors')
    const entries = await (async () => {
      await using file = await SafetensorsFile.open(path)
      return Promise.all(
        file.names.slice(1).map(async entry => ({
          ...{ name: entry, dtype: 'F32' as const, shape: file.info(entry).shape },
          bytes: await file.readFloat32(entry),
        })),
      )
    })()
    await saveFile(path, entries, { format: 'pt' })
    const peft = new PeftModel(base())
    await expect(peft.loadAdapter(folder, 'default')).rejects.toThrow(
      /lacks 1 tensors of the adapter, the first "prompt_enc/,
    )
    expect(peft.adapterNames()).toEqual([])
  })
})

describe('values for virtual tokens', () => {
  it('that are set without layers take the layers’ place, and what was compiled follows', async () => {
    const peft = getPeftModel(base(), CONFIGS['prefix tuning by an MLP']())
    const before = await logitsOf(peft)
    const { shape } = peft.stateDict().get('prompt_embeddings')!
    const values = Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => Math.sin(i))
    const entries = new Map([['prompt_embeddings', { shape, read: async () => values }]])
    await setPeftModelStateDict(peft, entries)
    expect(trainedNames(peft)).toEqual(['prompt_encoder.default.embedding.weight'])
    expect(difference(await logitsOf(peft), before)).toBeGreaterThan(1e-3)
    const plain = getPeftModel(base(), new PrefixTuningConfig({ numVirtualTokens: 3 }))
    await setPeftModelStateDict(plain, entries)
    expect(difference(await logitsOf(peft), await logitsOf(plain))).toBe(0)
  })

  it('of another shape are refused', async () => {
    const peft = getPeftModel(base(), new PromptTuningConfig({ numVirtualTokens: 3 }))
    const { shape } = new Parameter([4, 24])
    const entries = new Map([['prompt_embeddings', { shape, read: async () => new Float32Array(96) }]])
    await expect(setPeftModelStateDict(peft, entries)).rejects.toThrow(/has shape \[4,24\], the model expects \[3,24\]/)
  })

  it('are computed from the layers as they are when they are read', async () => {
    const peft = getPeftModel(base(), CONFIGS['P-tuning by an MLP']())
    const read = async () => (await peft.stateDict().get('prompt_embeddings')!.read()).slice()
    const before = await read()
    await train(peft, 1)
    const after = await read()
    expect(after).not.toEqual(before)
    expect(floats(tensorData('float32', after, [after.length]))).toEqual(await read())
  })
})
