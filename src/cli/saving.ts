/** @file Writing an output folder: the model or adapter, its tokenizer and its record, all or nothing. */
import { copyFile, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Tokenizer } from '../data/index.ts'
import type { OutputFolder } from '../training/output-folder.ts'
import { type TrainingRecord, writeRecord } from './record.ts'

/** What is saved. */
export interface SavedParts {
  model: { savePretrained(folder: string): Promise<unknown> }
  tokenizer: Tokenizer | undefined
  record: TrainingRecord | undefined
  /** The base's folder, whose settings go along with a whole model. */
  settingsFrom?: string
}

/** Files that go along with a whole model: how it generates, and how images and recordings are prepared for it. */
const SETTINGS = ['generation_config.json', 'preprocessor_config.json', 'processor_config.json']

/** Writes `output`; when anything fails it is as it was before. */
export async function saveAll(output: OutputFolder, { model, ...beside }: SavedParts) {
  await output.write(async folder => {
    await saveBeside(folder, beside)
    await model.savePretrained(folder)
  })
}

/** Writes what goes with a model or an adapter. */
export async function saveBeside(
  folder: string,
  { tokenizer, record, settingsFrom }: Omit<SavedParts, 'model'>,
): Promise<void> {
  await tokenizer?.savePretrained(folder)
  if (record) await writeRecord(folder, record)
  for (const name of settingsFrom === undefined ? [] : SETTINGS) {
    await copyIfThere(join(settingsFrom!, name), join(folder, name))
  }
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
