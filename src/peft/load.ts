/** @file Loads adapters from disk or from a hub, in whatever format they are. Node only. */
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { resolveModelFolder } from '../models/hub.ts'
import { ADAPTER_CONFIG, type AdapterFolder, type AdapterFormat, recognizeFormat } from './formats.ts'
import type { AnyPeftConfig, LoadAdapterOptions, PeftModel } from './model.ts'
import { PEFT_FORMAT } from './peft-format.ts'

/**
 * Reads the configuration of the adapter in a folder or of a hub id.
 *
 * @throws when there is no adapter, or its configuration cannot be read
 */
export async function loadPeftConfig(folderOrHubId: string, revision?: string): Promise<AnyPeftConfig> {
  const folder = await openFolder(folderOrHubId, revision)
  return formatOf(folder).readConfig(folder)
}

/** Adds the adapter in a folder or of a hub id to `model`. When loading fails, the adapter is not added. */
export async function loadAdapter(
  model: PeftModel,
  folderOrHubId: string,
  adapterName: string,
  options: LoadAdapterOptions,
): Promise<void> {
  const folder = await openFolder(folderOrHubId, options.revision)
  await formatOf(folder).load(model, folder, adapterName, options)
}

async function openFolder(folderOrHubId: string, revision?: string): Promise<AdapterFolder> {
  const path = await resolveModelFolder(folderOrHubId, { revision })
  return { path, files: await readdir(path), config: await readJson(join(path, ADAPTER_CONFIG)) }
}

async function readJson(path: string): Promise<unknown> {
  if (!existsSync(path)) return undefined
  try {
    return JSON.parse(await readFile(path, 'utf8'))
  } catch (cause) {
    throw new Error(`${path} is not valid JSON: ${cause instanceof Error ? cause.message : cause}`, { cause })
  }
}

function formatOf(folder: AdapterFolder): AdapterFormat {
  if (PEFT_FORMAT.recognizes(folder)) return PEFT_FORMAT
  const format = recognizeFormat(folder)
  if (format) return format
  if (folder.config !== undefined) return PEFT_FORMAT
  const found = folder.files.slice(0, 12).join(', ')
  throw new Error(
    `There is no adapter in ${folder.path}: ${ADAPTER_CONFIG} is missing. The folder holds ${found || 'nothing'}.`,
  )
}
