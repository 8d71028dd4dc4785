/** @file Loads adapters from disk or from a hub. Node only. */
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { resolveModelFolder } from '../models/hub.ts'
import { SafetensorsFile } from '../weights/index.ts'
import { getPeftConfig } from './method.ts'
import type { AnyPeftConfig, LoadAdapterOptions, PeftModel } from './model.ts'
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS } from './save.ts'
import { setPeftModelStateDict } from './state-dict.ts'

/**
 * Reads the configuration of the adapter in a folder or of a hub id.
 *
 * @throws when there is no adapter, or its configuration cannot be read
 */
export async function loadPeftConfig(folderOrHubId: string, revision?: string): Promise<AnyPeftConfig> {
  const folder = await adapterFolder(folderOrHubId, revision)
  return readConfig(folder)
}

async function adapterFolder(folderOrHubId: string, revision?: string): Promise<string> {
  const folder = await resolveModelFolder(folderOrHubId, { revision })
  if (existsSync(join(folder, ADAPTER_CONFIG))) return folder
  const found = (await readdir(folder)).slice(0, 12).join(', ')
  throw new Error(
    `There is no adapter in ${folder}: ${ADAPTER_CONFIG} is missing. The folder holds ${found || 'nothing'}.`,
  )
}

async function readConfig(folder: string): Promise<AnyPeftConfig> {
  const path = join(folder, ADAPTER_CONFIG)
  let json: unknown
  try {
    json = JSON.parse(await readFile(path, 'utf8'))
  } catch (cause) {
    throw new Error(`${path} is not valid JSON: ${cause instanceof Error ? cause.message : cause}`, { cause })
  }
  return getPeftConfig(json, path)
}

/** Adds the adapter in a folder or of a hub id to `model`. When loading fails, the adapter is not added. */
export async function loadAdapter(
  model: PeftModel,
  folderOrHubId: string,
  adapterName: string,
  options: LoadAdapterOptions,
): Promise<void> {
  const warn = options.onWarning ?? (message => console.warn(message))
  const folder = await adapterFolder(folderOrHubId, options.revision)
  const config = await readConfig(folder)
  const unknown = Object.keys(config.unknownKeys)
  if (unknown.length)
    warn(`${join(folder, ADAPTER_CONFIG)} has options that are not known here and are kept: ${unknown.join(', ')}`)
  const path = join(folder, ADAPTER_WEIGHTS)
  if (!existsSync(path)) {
    const pickled = existsSync(join(folder, 'adapter_model.bin'))
    throw new Error(
      pickled
        ? `${folder} holds its adapter as adapter_model.bin, a pickle, which can run code when it is read. Save it in Python with safe_serialization=True and load that.`
        : `${path} is missing, so the adapter is not complete`,
    )
  }
  await using file = await SafetensorsFile.open(path)
  const trainable = options.isTrainable ?? false
  model.addAdapter(adapterName, config.with({ inferenceMode: !trainable }) as AnyPeftConfig, { strict: false })
  try {
    const entries = new Map(
      file.names.map(name => [name, { shape: file.info(name).shape, read: () => file.readFloat32(name) }]),
    )
    const { missing, unexpected } = await setPeftModelStateDict(model, entries, adapterName)
    if (missing.length) {
      throw new Error(
        `${path} lacks ${missing.length} tensors of the adapter, the first "${missing[0]}"; it was made for another base model or is damaged`,
      )
    }
    if (unexpected.length) {
      warn(`${path} holds ${unexpected.length} tensors that the adapter has no place for, the first "${unexpected[0]}"`)
    }
  } catch (cause) {
    model.deleteAdapter(adapterName)
    throw cause
  }
}
