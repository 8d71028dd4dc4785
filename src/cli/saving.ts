/** @file Writing an output folder: the model or adapter, its tokenizer and its record, all or nothing. */
import { copyFile, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Tokenizer } from '../data/index.ts'
import type { OutputFolder } from '../training/output-folder.ts'
import { type TrainingRecord, writeRecord } from './record.ts'
import type { TunedModel } from './tuning.ts'

/** What is saved. */
export interface SavedParts {
  model: TunedModel
  tokenizer: Tokenizer | undefined
  record: TrainingRecord | undefined
  /** The base's folder, whose settings of generation go along with a whole model. */
  settingsFrom?: string
}

const GENERATION_CONFIG = 'generation_config.json'

/** Writes `output`; when anything fails it is as it was before. */
export async function saveAll(output: OutputFolder, { model, tokenizer, record, settingsFrom }: SavedParts) {
  await output.write(async folder => {
    await tokenizer?.savePretrained(folder)
    if (record) await writeRecord(folder, record)
    if (settingsFrom !== undefined)
      await copyIfThere(join(settingsFrom, GENERATION_CONFIG), join(folder, GENERATION_CONFIG))
    await model.savePretrained(folder)
  })
}

async function copyIfThere(from: string, to: string): Promise<void> {
  await copyFile(from, to).catch(error => {
    if (error.code !== 'ENOENT') throw error
  })
}

/** The size of the weights in a folder, in bytes. */
export async function weightBytes(folder: string): Promise<number> {
  const names = (await readdir(folder)).filter(name => name.endsWith('.safetensors'))
  const sizes = await Promise.all(names.map(async name => (await stat(join(folder, name))).size))
  return sizes.reduce((a, b) => a + b, 0)
}
