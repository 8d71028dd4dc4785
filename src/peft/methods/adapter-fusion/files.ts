/** @file Reads and writes fusions as AdapterHub does. Node only. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeFileAtomic } from '../../../util/files.ts'
import { SafetensorsFile, saveFile } from '../../../weights/index.ts'
import { HUB_VERSION, hubModelFacts } from '../../adapterhub/files.ts'
import { type HubJson, hubOptionNames, hubOptions, optionsFromHub } from '../../adapterhub/methods.ts'
import { hubStateDict } from '../../adapterhub/state-dict.ts'
import type { AdapterFolder } from '../../formats.ts'
import type { LoadAdapterOptions, PeftModel } from '../../model.ts'
import { pythonJson } from '../../python-json.ts'
import { assignTensors } from '../../state-dict.ts'
import { addLoadedAdapter, fileEntries, parameterEntries } from '../../tensor-files.ts'
import { changed } from '../../tuner-layer.ts'
import { AdapterFusionConfig, FUSION_OPTIONS } from './config.ts'
import { FUSION_CONFIG, FUSION_WEIGHTS } from './file-names.ts'

const NAMES = hubOptionNames(Object.keys(FUSION_OPTIONS))
const FLOATS = new Set(['dropoutProb'])

/** The options of the fusion in a folder. Throws when the file is not one of AdapterHub's. */
export async function readFusionConfig({ path }: AdapterFolder): Promise<AdapterFusionConfig> {
  const label = join(path, FUSION_CONFIG)
  let json: HubJson
  try {
    json = JSON.parse(await readFile(label, 'utf8'))
  } catch (cause) {
    throw new Error(`${label} is not valid JSON: ${cause instanceof Error ? cause.message : cause}`, { cause })
  }
  const names = json.adapter_names
  if (!(Array.isArray(names) && names.length > 1 && names.every(name => typeof name === 'string'))) {
    throw new Error(`${label}: "adapter_names" must list at least two adapters, got ${JSON.stringify(names)}`)
  }
  if (typeof json.config !== 'object' || json.config === null) {
    throw new Error(
      `${label}: "config" must be an object with the fusion's options, got ${JSON.stringify(json.config)}`,
    )
  }
  const { model_name: name } = json
  return new AdapterFusionConfig({
    ...optionsFromHub(json.config as HubJson, NAMES, []),
    adapterNames: names,
    baseModelNameOrPath: typeof name === 'string' ? name : null,
  })
}

/** Adds the fusion in a folder to a model that has its adapters. */
export async function loadFusion(
  model: PeftModel,
  folder: AdapterFolder,
  adapterName: string,
  options: LoadAdapterOptions,
): Promise<void> {
  const config = await readFusionConfig(folder)
  const path = join(folder.path, FUSION_WEIGHTS)
  if (!folder.files.includes(FUSION_WEIGHTS)) {
    throw new Error(
      `${path} is missing, so the fusion is not complete; save it in Python with model.save_adapter_fusion(folder, names, use_safetensors=True)`,
    )
  }
  const fileName = config.adapterNames.join(',')
  await using file = await SafetensorsFile.open(path)
  await addLoadedAdapter(model, adapterName, config, options, async () => {
    const own = hubStateDict(model, adapterName, fileName)
    const { missing, unexpected } = await assignTensors(own, fileEntries(file))
    changed(model.adapterState)
    if (missing.length)
      throw new Error(`${path} lacks ${missing.length} tensors of the fusion, the first "${missing[0]}"`)
    if (unexpected.length) {
      const warn = options.onWarning ?? (message => console.warn(message))
      warn(`${path} holds ${unexpected.length} tensors that the fusion has no place for, the first "${unexpected[0]}"`)
    }
  })
}

/** Writes a fusion into a folder, the configuration last. */
export async function saveFusion(model: PeftModel, adapterName: string, folder: string): Promise<void> {
  const adapter = model.adapter(adapterName)
  const config = adapter.config as AdapterFusionConfig
  await saveFile(join(folder, FUSION_WEIGHTS), await parameterEntries(hubStateDict(model, adapterName)))
  const json = {
    ...hubModelFacts(adapter),
    adapter_names: config.adapterNames,
    config: hubOptions(config, NAMES, FLOATS),
    name: adapterName,
    version: HUB_VERSION,
  }
  await writeFileAtomic(join(folder, FUSION_CONFIG), pythonJson(json))
}
