/** @file Names of modules in adapters' files: written out, and understood when they are former ones. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { AutoConfig, AutoModelForCausalLM, AutoModelForImageClassification } from '../models/index.ts'
import { SafetensorsFile, saveFile } from '../weights/index.ts'
import { getPeftModel, LoraConfig, PeftModel } from './index.ts'

const SIZES = { hidden_size: 8, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 16 }

function vit() {
  const json = { model_type: 'vit', ...SIZES, image_size: 16, patch_size: 8 }
  const model = AutoModelForImageClassification.fromConfig(AutoConfig.fromJSON(json))
  model.initialize(1)
  return model
}

const configIn = async (folder: string) => JSON.parse(await readFile(join(folder, 'adapter_config.json'), 'utf8'))

describe('all-linear', () => {
  it('is saved as what it chose: by the shortest names that mean nothing else', async () => {
    const json = { model_type: 'mixtral', ...SIZES, vocab_size: 20, num_key_value_heads: 2, num_local_experts: 2 }
    const model = AutoModelForCausalLM.fromConfig(AutoConfig.fromJSON(json))
    model.initialize(1)
    const [short, long] = [await temporaryFolder(), await temporaryFolder()]
    await getPeftModel(model, new LoraConfig({ targetModules: 'all-linear' })).savePretrained(short)
    expect((await configIn(short)).target_modules.toSorted()).toEqual(['k_proj', 'o_proj', 'q_proj', 'v_proj'])
    expect((await PeftModel.fromPretrained(model, short)).targetedModules()).toHaveLength(8)

    const excludeModules = String.raw`.*\.1\..*`
    await getPeftModel(model, new LoraConfig({ targetModules: 'all-linear', excludeModules })).savePretrained(long)
    const first = ['k_proj', 'o_proj', 'q_proj', 'v_proj'].map(name => `model.layers.0.self_attn.${name}`)
    expect((await configIn(long)).target_modules.toSorted()).toEqual(first)
  })
})

describe('an adapter whose file has former names of modules', () => {
  /** Saves an adapter as it was saved when ViT's modules had the names of checkpoints. */
  async function saveFormer(targetModules: string[], former: string[] | string, more: object = {}) {
    const folder = await temporaryFolder()
    const peft = getPeftModel(vit(), new LoraConfig({ r: 2, targetModules, initLoraWeights: false }))
    await peft.savePretrained(folder)
    const path = join(folder, 'adapter_model.safetensors')
    const state = [...peft.stateDict()]
    const entries = state.map(([key, { shape, data }]) => {
      const name = peft.getBaseModel().checkpointName(key)
      return { name, dtype: 'F32' as const, shape, bytes: data.slice() }
    })
    await saveFile(path, entries)
    const config = { ...(await configIn(folder)), target_modules: former, ...more }
    await writeFile(join(folder, 'adapter_config.json'), JSON.stringify(config))
    return { folder, peft }
  }

  it.each([
    ['names', ['q_proj', 'v_proj'], ['query', 'value']],
    ['longer names', ['o_proj', 'fc2'], ['output.dense']],
    ['former and new names', ['q_proj', 'fc1'], ['query', 'fc1']],
    ['an expression', ['k_proj'], String.raw`.*\.attention\.key`],
  ])('is loaded, with %s, and saved with those of today', async (_, today, former) => {
    const { folder, peft } = await saveFormer(today, former)
    await using file = await SafetensorsFile.open(join(folder, 'adapter_model.safetensors'))
    expect(file.names[0]).toContain('.vit.encoder.layer.0.')
    const fail = (warning: string) => expect.fail(warning)
    const again = await PeftModel.fromPretrained(vit(), folder, { onWarning: fail })
    expect(again.targetedModules()).toEqual(peft.targetedModules())
    for (const [key, parameter] of peft.stateDict()) expect(again.stateDict().get(key)!.data).toEqual(parameter.data)
    const target = await temporaryFolder()
    await again.savePretrained(target)
    expect(JSON.stringify(await configIn(target))).not.toMatch(/encoder\.layer|"query"|"key"/)
    expect((await PeftModel.fromPretrained(vit(), target, { onWarning: fail })).stateDict().size).toBe(
      peft.stateDict().size,
    )
  })

  it('is refused when options name modules that cannot be translated', async () => {
    const { folder } = await saveFormer(['q_proj'], ['query'], { alpha_pattern: { 'layer.0.attention.attention': 4 } })
    await expect(PeftModel.fromPretrained(vit(), folder)).rejects.toThrow(
      /"vit\.encoder\.layer\.0\.attention\.attention\.query", now "vit\.layers\.0\.attention\.q_proj".*alphaPattern not/,
    )
  })

  it('is told which names there are when they never meant anything', async () => {
    const { folder } = await saveFormer(['q_proj'], ['query_proj'])
    await expect(PeftModel.fromPretrained(vit(), folder)).rejects.toThrow(/none of \["query_proj"\] matches/)
  })
})
