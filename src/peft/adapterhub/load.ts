/** @file Reads adapters that AdapterHub has written. Node only. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { PreTrainedModel } from '../../models/index.ts'
import { SafetensorsFile } from '../../weights/index.ts'
import { ADAPTER_CONFIG, type AdapterFolder } from '../formats.ts'
import type { AnyPeftConfig, LoadAdapterOptions, PeftModel } from '../model.ts'
import { assignTensors, type StateDictEntry } from '../state-dict.ts'
import { addLoadedAdapter, fileEntries } from '../tensor-files.ts'
import { changed } from '../tuner-layer.ts'
import { explainHubPickle, HUB_HEAD_CONFIG, HUB_HEAD_WEIGHTS, HUB_PICKLE, HUB_WEIGHTS, hiddenSize } from './files.ts'
import { configFromHub, type HubJson, hubMethod } from './methods.ts'
import { hubHeadStateDict, hubStateDict } from './state-dict.ts'

type Warn = (message: string) => void

/** The options of the adapter in a folder. Throws when the file is not one of AdapterHub's. */
export function readHubConfig(folder: AdapterFolder): AnyPeftConfig {
  const label = join(folder.path, ADAPTER_CONFIG)
  const json = folder.config as HubJson
  const config = configFromHub(json.config, label)
  const { model_name: name } = json
  if (typeof json.name !== 'string') {
    throw new Error(`${label}: "name" must be the adapter's name, got ${JSON.stringify(json.name)}`)
  }
  return config.with({ baseModelNameOrPath: typeof name === 'string' ? name : null }) as AnyPeftConfig
}

/** Adds the adapter in a folder to a model, with the prediction head that lies beside it. */
export async function loadHubAdapter(
  model: PeftModel,
  folder: AdapterFolder,
  adapterName: string,
  options: LoadAdapterOptions,
): Promise<void> {
  const warn = options.onWarning ?? (message => console.warn(message))
  const config = readHubConfig(folder)
  const json = folder.config as HubJson
  const unknown = Object.keys(config.unknownKeys)
  if (unknown.length) {
    warn(`${join(folder.path, ADAPTER_CONFIG)} has options that are not known here and are kept: ${unknown.join(', ')}`)
  }
  checkModel(model, json, folder.path)
  const path = join(folder.path, HUB_WEIGHTS)
  if (!folder.files.includes(HUB_WEIGHTS)) {
    throw new Error(
      folder.files.includes(HUB_PICKLE)
        ? explainHubPickle(folder.path, HUB_PICKLE)
        : `${path} is missing, so the adapter is not complete`,
    )
  }
  await using file = await SafetensorsFile.open(path)
  await using head = (options.withHead ?? true) ? await openHead(folder, warn) : undefined
  const heads = head ? [...new Set(head.names.map(name => name.slice(0, name.indexOf('.'))))] : []
  if (heads.length) config.modulesToSave = [...new Set([...(config.modulesToSave ?? []), ...heads])]
  await addLoadedAdapter(model, adapterName, config, options, async () => {
    await placeAdapter(model, adapterName, { file, path, fileName: json.name as string, warn })
    if (head) await placeHead(model, adapterName, head, join(folder.path, HUB_HEAD_WEIGHTS))
  })
}

/** Refuses an adapter that was made for a model of another kind. */
function checkModel(model: PeftModel, json: HubJson, folder: string): void {
  const base = model.getBaseModel() as unknown as PreTrainedModel
  const type = base.config?.model_type
  if (type !== undefined && typeof json.model_type === 'string' && json.model_type !== type) {
    throw new Error(
      `The adapter in ${folder} was made for a model of type "${json.model_type}" (${json.model_name}), this one is a "${type}"; load it on its own base`,
    )
  }
  const width = hiddenSize(base)
  if (width !== null && typeof json.hidden_size === 'number' && json.hidden_size !== width) {
    throw new Error(
      `The adapter in ${folder} was made for a model that is ${json.hidden_size} wide (${json.model_name}), this one is ${width} wide; load it on its own base`,
    )
  }
}

interface AdapterFile {
  file: SafetensorsFile
  path: string
  fileName: string
  warn: Warn
}

async function placeAdapter(
  model: PeftModel,
  adapterName: string,
  { file, path, fileName, warn }: AdapterFile,
): Promise<void> {
  const adapter = model.adapter(adapterName)
  const method = hubMethod(adapter.config.peftType)
  const inFile = fileEntries(file)
  const canonical = new Map<string, StateDictEntry>()
  for (const [key, entry] of inFile) canonical.set(method.canonicalKey?.(key, adapter) ?? key, entry)
  adapter.method.beforeLoad?.(adapter, new Map([...canonical].map(([key, { shape }]) => [key, shape])))
  const own = hubStateDict(model, adapterName, fileName)
  const entries = withBasePrefix(canonical, own.keys(), model)
  const { missing, unexpected, values } = await assignTensors(own, entries)
  changed(adapter.state)
  const remark = await adapter.method.afterLoad?.(adapter, values)
  if (remark !== undefined) warn(`${path}: ${remark}`)
  if (adapter.method.beforeLoad || adapter.method.afterLoad) model.refreshTrained(adapterName)
  if (missing.length) {
    const shared = missing.every(key => key.startsWith('shared_parameters.'))
    throw new Error(
      shared
        ? `${path} lacks the tensors that the adapter's layers share, the first "${missing[0]}": AdapterHub forgets them when it saves a model without a head of its own, or T5. They cannot be made up; save the adapter in Python with these tensors added.`
        : `${path} lacks ${missing.length} tensors of the adapter, the first "${missing[0]}"; it was made for another base model or is damaged`,
    )
  }
  if (unexpected.length) {
    warn(`${path} holds ${unexpected.length} tensors that the adapter has no place for, the first "${unexpected[0]}"`)
  }
}

/** The tensors under the names of this model, where the file was written for the base with a head, or without one. */
function withBasePrefix(
  entries: ReadonlyMap<string, StateDictEntry>,
  keys: Iterable<string>,
  model: PeftModel,
): ReadonlyMap<string, StateDictEntry> {
  const own = new Set(keys)
  const prefix = `${(model.getBaseModel() as unknown as Partial<PreTrainedModel>).baseModelPrefix}.`
  const nameHere = (key: string) => {
    const without = key.startsWith(prefix) ? key.slice(prefix.length) : key
    return [key, prefix + key, without].find(name => own.has(name)) ?? key
  }
  return new Map([...entries].map(([key, entry]) => [nameHere(key), entry]))
}

/** The file with the head that was saved beside an adapter; undefined where there is none that can be used here. */
async function openHead(folder: AdapterFolder, warn: Warn): Promise<SafetensorsFile | undefined> {
  if (!folder.files.includes(HUB_HEAD_CONFIG)) return undefined
  const path = join(folder.path, HUB_HEAD_CONFIG)
  let json: HubJson
  try {
    json = JSON.parse(await readFile(path, 'utf8'))
  } catch (cause) {
    throw new Error(`${path} is not valid JSON: ${cause instanceof Error ? cause.message : cause}`, { cause })
  }
  if (json.config !== null) {
    const type = (json.config as HubJson | undefined)?.head_type
    warn(
      `${path} describes a flexible head (${JSON.stringify(type)}), which only AdapterHub's own model classes have; the adapter is loaded without it`,
    )
    return undefined
  }
  if (!folder.files.includes(HUB_HEAD_WEIGHTS)) {
    warn(`${path} describes a head whose tensors (${HUB_HEAD_WEIGHTS}) are not there; the adapter is loaded without it`)
    return undefined
  }
  return SafetensorsFile.open(join(folder.path, HUB_HEAD_WEIGHTS))
}

async function placeHead(model: PeftModel, adapterName: string, file: SafetensorsFile, path: string): Promise<void> {
  const own = hubHeadStateDict(model, adapterName)
  const { unexpected } = await assignTensors(own, fileEntries(file))
  if (unexpected.length) {
    throw new Error(
      `${path} holds "${unexpected[0]}", for which the model's head has no place; load with { withHead: false } to leave the head out`,
    )
  }
}
