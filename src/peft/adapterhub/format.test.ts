/** @file AdapterHub's files: what comes back, what lies beside the adapter, and what is refused. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { oracleCase, skippable } from '../../../test/shared.ts'
import { temporaryFolder } from '../../../test/temporary.ts'
import { AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification } from '../../models/index.ts'
import { parseSafetensors, serializeSafetensors, toFloat32 } from '../../weights/index.ts'
import {
  type BnConfig,
  getPeftModel,
  LoraConfig,
  loadPeftConfig,
  PeftModel,
  registerAdapterFormat,
  SeqBnConfig,
  SeqBnInvConfig,
  TaskType,
} from '../index.ts'
import { ADAPTERHUB_FORMAT } from './format.ts'
import { completeFolder, hubCase, openBase } from './testing/cases.ts'

const SIZES = { vocab_size: 20, hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 20 }

const bert = (options: Record<string, unknown> = {}) =>
  AutoConfig.fromJSON({ model_type: 'bert', ...SIZES, max_position_embeddings: 8, num_labels: 3, ...options })

const classifier = (options?: Record<string, unknown>) => {
  const model = AutoModelForSequenceClassification.fromConfig(bert(options))
  model.initialize(1)
  return model
}

const seqBn = () => new SeqBnConfig({ reductionFactor: 4 })

/** A folder with an adapter called `default`. */
async function saved(config = seqBn(), model = classifier()): Promise<string> {
  const folder = await temporaryFolder()
  await getPeftModel(model, config).savePretrained(folder)
  return folder
}

const readJson = async (folder: string, file = 'adapter_config.json') =>
  JSON.parse(await readFile(join(folder, file), 'utf8'))

/** Changes a folder's `adapter_config.json`. */
async function editJson(folder: string, edit: (json: Record<string, Record<string, unknown>>) => void): Promise<void> {
  const json = await readJson(folder)
  edit(json)
  await writeFile(join(folder, 'adapter_config.json'), JSON.stringify(json))
}

const tensorsOf = async (folder: string, file = 'adapter.safetensors') =>
  new Map(
    [...parseSafetensors(await readFile(join(folder, file))).tensors].map(([name, { dtype, shape, bytes }]) => [
      name,
      { shape, data: toFloat32(dtype, bytes) },
    ]),
  )

async function writeTensors(
  folder: string,
  tensors: ReadonlyMap<string, { shape: readonly number[]; data: Float32Array }>,
): Promise<void> {
  const entries = [...tensors].map(([name, { shape, data }]) => ({ name, dtype: 'F32' as const, shape, bytes: data }))
  await writeFile(join(folder, 'adapter.safetensors'), serializeSafetensors(entries))
}

const load = (folder: string, options = {}, model = classifier()) => PeftModel.fromPretrained(model, folder, options)

describe('an adapter in AdapterHub’s format', () => {
  it('is what a bottleneck adapter is saved as, with numbers as Python holds them', async () => {
    const folder = await saved(new SeqBnConfig({ reductionFactor: 4, scaling: 4, baseModelNameOrPath: 'a-bert' }))
    const text = await readFile(join(folder, 'adapter_config.json'), 'utf8')
    expect(text).toContain('"scaling": 4.0')
    expect(text).toContain('"dropout": 0.0')
    expect(text).toContain('"phm_dim": 4,')
    expect(JSON.parse(text)).toMatchObject({
      hidden_size: 16,
      model_class: 'BertForSequenceClassification',
      model_name: 'a-bert',
      model_type: 'bert',
      name: 'default',
      version: 'adapters.1.3.0',
    })
  })

  it('is loaded under another name, and saved under that', async () => {
    const folder = await saved()
    const peft = await load(folder, { adapterName: 'other' })
    const target = await temporaryFolder()
    await peft.savePretrained(target)
    expect((await readJson(join(target, 'other'))).name).toBe('other')
    const [before, after] = [await tensorsOf(folder), await tensorsOf(join(target, 'other'))]
    expect([...after.keys()]).toEqual([...before.keys()].map(name => name.replace('.default.', '.other.')))
    expect([...after.values()]).toEqual([...before.values()])
  })

  it('has its configuration read without a model', async () => {
    const config = (await loadPeftConfig(await saved())) as BnConfig
    expect(config.peftType).toBe('BOTTLENECK')
    expect(config.reductionFactor).toBe(4)
  })

  it('lies beside adapters in PEFT’s format, each method in its own', async () => {
    const peft = getPeftModel(classifier(), seqBn())
    peft.addAdapter('lora', new LoraConfig({ r: 2, targetModules: ['query'] }))
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    expect((await readJson(folder)).config.reduction_factor).toBe(4)
    expect((await readJson(join(folder, 'lora'))).peft_type).toBe('LORA')
  })

  it('on dense layers of one’s choice, which AdapterHub does not have, is saved as PEFT saves', async () => {
    const folder = await saved(new SeqBnConfig({ reductionFactor: 4, targetModules: ['query'] }))
    expect(await readJson(folder)).toMatchObject({ peft_type: 'BOTTLENECK', target_modules: ['query'] })
    expect((await load(folder)).targetedModules()).toHaveLength(2)
  })

  it('with an option that AdapterHub’s files have no place for is saved as PEFT saves', async () => {
    const llama = AutoModelForCausalLM.fromConfig(AutoConfig.fromJSON({ model_type: 'llama', ...SIZES }))
    llama.initialize(1)
    const folder = await temporaryFolder()
    const peft = getPeftModel(llama, new SeqBnInvConfig({ reductionFactor: 4, invBeforeOutput: true }))
    await peft.savePretrained(folder)
    const back = await PeftModel.fromPretrained(llama, folder)
    expect(back.targetedModules()).toEqual(peft.targetedModules())
    expect(back.targetedModules()).toContain('lm_head')
    const target = await temporaryFolder()
    await back.savePretrained(target)
    expect(await tensorsOf(target, 'adapter_model.safetensors')).toEqual(
      await tensorsOf(folder, 'adapter_model.safetensors'),
    )
  })

  it('fits the model with a head and the one without', async () => {
    const folder = await saved()
    const bare = AutoModel.fromConfig(bert())
    bare.initialize(1)
    const withoutHead = await PeftModel.fromPretrained(bare, folder)
    const target = await temporaryFolder()
    await withoutHead.savePretrained(target)
    const names = [...(await tensorsOf(target)).keys()]
    expect(names).toContain('encoder.layer.0.output.adapters.default.adapter_up.weight')
    const back = await load(target)
    const again = await temporaryFolder()
    await back.savePretrained(again)
    expect(await tensorsOf(again)).toEqual(await tensorsOf(folder))
  })

  it('keeps options that are not known here, and says so', async () => {
    const folder = await saved()
    await editJson(folder, json => Object.assign(json.config, { an_option_of_tomorrow: [1] }))
    const warnings: string[] = []
    const peft = await load(folder, { onWarning: (text: string) => warnings.push(text) })
    expect(warnings.join()).toMatch(/not known here and are kept: an_option_of_tomorrow/)
    const target = await temporaryFolder()
    await peft.savePretrained(target)
    expect((await readJson(target)).config.an_option_of_tomorrow).toEqual([1])
  })

  it('may lack the options that came with later versions', async () => {
    const folder = await saved()
    await editJson(folder, json => {
      for (const key of ['stochastic_depth', 'init_weights_seed', 'phm_layer', 'use_gating']) delete json.config[key]
    })
    expect((await load(folder)).configOf('default')).toMatchObject({ stochasticDepth: 0, phmLayer: false })
  })

  it('that has an integer where Python wants floating point is read, and written as Python wants it', async () => {
    const folder = await saved()
    await editJson(folder, json => Object.assign(json.config, { scaling: 4 }))
    const target = await temporaryFolder()
    await (await load(folder)).savePretrained(target)
    expect(await readFile(join(target, 'adapter_config.json'), 'utf8')).toContain('"scaling": 4.0')
  })
})

describe('the head of an adapter', () => {
  it('that was trained with it is saved beside it and comes back', async () => {
    const peft = getPeftModel(classifier(), new SeqBnConfig({ reductionFactor: 4, taskType: TaskType.SEQ_CLS }))
    const [, weight] = [...peft.namedParameters()].find(([name]) => name.includes('modules_to_save.default.weight'))!
    weight.data = weight.data.map(value => value + 1)
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    expect(await readJson(folder, 'head_config.json')).toMatchObject({ config: null, name: null, num_labels: 3 })
    expect((await tensorsOf(folder, 'model_head.safetensors')).get('classifier.weight')!.data).toEqual(weight.data)
    const back = await load(folder, { isTrainable: true })
    expect(back.getNbTrainableParameters()).toEqual(peft.getNbTrainableParameters())
    expect((await load(folder, { isTrainable: true, withHead: false })).configOf('default').modulesToSave).toBeNull()
  })

  it('is refused where the model has another number of classes', async () => {
    const folder = await saved(new SeqBnConfig({ reductionFactor: 4, taskType: TaskType.SEQ_CLS }))
    await expect(load(folder, {}, classifier({ num_labels: 5 }))).rejects.toThrow(/classifier.*\[3.*expects \[5/)
  })

  it('of AdapterHub’s own model classes is left out, and that is said', async () => {
    const folder = await saved()
    const head = { config: { head_type: 'masked_lm' }, model_class: 'BertAdapterModel' }
    await writeFile(join(folder, 'head_config.json'), JSON.stringify(head))
    const warnings: string[] = []
    await load(folder, { onWarning: (text: string) => warnings.push(text) })
    expect(warnings.join()).toMatch(/flexible head \("masked_lm"\).*loaded without it/)
  })

  it('that is described and not there is told', async () => {
    const folder = await saved()
    await writeFile(join(folder, 'head_config.json'), JSON.stringify({ config: null }))
    const warnings: string[] = []
    await load(folder, { onWarning: (text: string) => warnings.push(text) })
    expect(warnings.join()).toMatch(/model_head.safetensors\) are not there/)
    await writeFile(join(folder, 'head_config.json'), '{')
    await expect(load(folder)).rejects.toThrow(/head_config.json is not valid JSON/)
  })
})

describe('files that are refused, with the reason', () => {
  const broken: [string, (folder: string) => Promise<void>, RegExp][] = [
    ['broken JSON', folder => writeFile(join(folder, 'adapter_config.json'), '{"config": {'), /not valid JSON/],
    [
      'no name',
      folder => editJson(folder, json => void delete json.name),
      /"name" must be the adapter's name, got undefined/,
    ],
    [
      'options that are no object',
      folder => editJson(folder, json => void Object.assign(json, { config: 'pfeiffer' })),
      /"config" must be an object.*"pfeiffer"/,
    ],
    [
      'another architecture',
      folder => editJson(folder, json => void Object.assign(json.config, { architecture: 'hologram' })),
      /"architecture": "hologram" are not known/,
    ],
    [
      'half of the options',
      folder => editJson(folder, json => void delete json.config.reduction_factor),
      /options of a bottleneck adapter lack "reduction_factor"/,
    ],
    [
      'a value of the wrong kind',
      folder => editJson(folder, json => void Object.assign(json.config, { mh_adapter: 1 })),
      /mhAdapter must be true or false, got 1/,
    ],
    [
      'another kind of model',
      folder => editJson(folder, json => void Object.assign(json, { model_type: 'gpt2', model_name: 'gpt2' })),
      /made for a model of type "gpt2" \(gpt2\), this one is a "bert"/,
    ],
    [
      'another width',
      folder => editJson(folder, json => void Object.assign(json, { hidden_size: 768 })),
      /made for a model that is 768 wide.*this one is 16 wide/,
    ],
    [
      'other shapes',
      folder => editJson(folder, json => void Object.assign(json.config, { reduction_factor: 2 })),
      /has shape \[4,16\], the model expects \[8,16\]/,
    ],
    [
      'missing tensors',
      async folder => {
        const tensors = await tensorsOf(folder)
        tensors.delete([...tensors.keys()][0])
        await writeTensors(folder, tensors)
      },
      /lacks 1 tensors of the adapter, the first "bert.encoder/,
    ],
    ['a damaged file', folder => writeFile(join(folder, 'adapter.safetensors'), 'nothing'), /adapter.safetensors/],
  ]
  it.each(broken)('%s', async (_, damage, message) => {
    const folder = await saved()
    await damage(folder)
    const model = classifier()
    const peft = new PeftModel(model)
    await expect(peft.loadAdapter(folder, 'default')).rejects.toThrow(message)
    expect(peft.adapterNames()).toEqual([])
    expect([...peft.model.namedModules()].length).toBe([...model.namedModules()].length)
  })

  it('no tensors at all', async () => {
    const config = await readFile(join(await saved(), 'adapter_config.json'))
    await expect(load(await temporaryFolder({ 'adapter_config.json': config }))).rejects.toThrow(
      /adapter.safetensors is missing, so the adapter is not complete/,
    )
  })

  it('a pickle', async () => {
    const config = await readFile(join(await saved(), 'adapter_config.json'))
    const folder = await temporaryFolder({ 'adapter_config.json': config, 'pytorch_adapter.bin': 'pickle' })
    await expect(load(folder)).rejects.toThrow(/pytorch_adapter.bin, a pickle.*use_safetensors=True/)
  })

  it('tensors that nothing has a place for are told, not refused', async () => {
    const folder = await saved()
    const tensors = await tensorsOf(folder)
    await writeTensors(folder, tensors.set('bert.stray', { shape: [1], data: new Float32Array(1) }))
    const warnings: string[] = []
    await load(folder, { onWarning: (text: string) => warnings.push(text) })
    expect(warnings.join()).toMatch(/holds 1 tensors that the adapter has no place for, the first "bert.stray"/)
  })

  it('a second format of the same name', () => {
    expect(() => registerAdapterFormat(ADAPTERHUB_FORMAT)).toThrow(/"adapterhub" is already registered/)
  })
})

describe('what AdapterHub gets wrong', () => {
  const compacter = hubCase('compacter-t5')
  const missing = !compacter && 'no copy of the oracle here'

  it.skipIf(missing)(
    skippable('oracle: a Compacter on T5 whose shared rule AdapterHub forgot is refused, with the reason', missing),
    async () => {
      const base = await openBase(compacter!)
      await expect(PeftModel.fromPretrained(base, compacter!.folder)).rejects.toThrow(
        /lacks the tensors that the adapter's layers share, the first "shared_parameters.a.phm_rule": AdapterHub forgets/,
      )
      const complete = await completeFolder(compacter!, '.')
      expect((await PeftModel.fromPretrained(base, complete)).adapterNames()).toEqual(['default'])
    },
  )

  const flexible = oracleCase('adapterhub', 'seq_bn_inv-flex-mlm')
  it.skipIf(!flexible)(
    skippable(
      'oracle: an adapter beside a flexible head is loaded without it',
      !flexible && 'no copy of the oracle here',
    ),
    async () => {
      const warnings: string[] = []
      const base = await openBase(hubCase('seq_bn_inv-flex-mlm')!)
      const peft = await PeftModel.fromPretrained(base, flexible!, { onWarning: text => warnings.push(text) })
      expect(warnings.join()).toMatch(/flexible head/)
      expect(peft.targetedModules()).toContain('bert.embeddings.dropout')
    },
  )
})
