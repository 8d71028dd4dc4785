/** @file How many classes the head has that is saved with an adapter. Node only. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { SafetensorsFile } from '../weights/index.ts'

/** The files that heads are saved in: PEFT's, and AdapterHub's. */
const FILES = ['adapter_model.safetensors', 'model_head.safetensors']

/** How many classes the classifier in an adapter's folder has; undefined where none is saved. */
export async function savedHeadRows(adapterFolder: string): Promise<number | undefined> {
  const path = FILES.map(file => join(adapterFolder, file)).find(existsSync)
  if (path === undefined) return undefined
  await using file = await SafetensorsFile.open(path)
  const name = file.names.find(key => /(^|\.)(classifier|score)(\.out_proj)?\.weight$/.test(key))
  return name === undefined ? undefined : file.info(name).shape[0]
}
