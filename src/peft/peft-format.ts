/** @file PEFT's format: `adapter_config.json`, `adapter_model.safetensors` and a model card. Node only. */
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Parameter } from '../nn/index.ts'
import { writeFileAtomic } from '../util/files.ts'
import { SafetensorsFile, saveFile } from '../weights/index.ts'
import type { PeftConfig } from './config.ts'
import { ADAPTER_CONFIG, type AdapterFormat } from './formats.ts'
import { withCurrentTargets } from './former-names.ts'
import { getPeftConfig, getPeftMethod } from './method.ts'
import type { AnyPeftConfig, PeftModel } from './model.ts'
import { modelCard } from './model-card.ts'
import { savedConfig } from './saved-targets.ts'
import { getPeftModelStateDict, getTrainingState, setPeftModelStateDict } from './state-dict.ts'
import { addLoadedAdapter, fileEntries, parameterEntries } from './tensor-files.ts'

/** The file that holds an adapter's tensors. */
export const ADAPTER_WEIGHTS = 'adapter_model.safetensors'

/** PEFT's own files. */
export const PEFT_FORMAT: AdapterFormat = {
  name: 'peft',

  recognizes: ({ config }) => typeof config === 'object' && config !== null && 'peft_type' in config,

  async readConfig({ path, config }) {
    return getPeftConfig(config, join(path, ADAPTER_CONFIG))
  },

  async load(model, folder, adapterName, options) {
    const warn = options.onWarning ?? (message => console.warn(message))
    const config = getPeftConfig(folder.config, join(folder.path, ADAPTER_CONFIG))
    const unknown = Object.keys(config.unknownKeys)
    if (unknown.length) {
      warn(
        `${join(folder.path, ADAPTER_CONFIG)} has options that are not known here and are kept: ${unknown.join(', ')}`,
      )
    }
    const path = join(folder.path, ADAPTER_WEIGHTS)
    if (!existsSync(path)) {
      throw new Error(
        folder.files.includes('adapter_model.bin')
          ? `${folder.path} holds its adapter as adapter_model.bin, a pickle, which can run code when it is read. Save it in Python with safe_serialization=True and load that.`
          : `${path} is missing, so the adapter is not complete`,
      )
    }
    await using file = await SafetensorsFile.open(path)
    const { trainingFile } = getPeftMethod(config.peftType)
    await using further =
      trainingFile && folder.files.includes(trainingFile.name)
        ? await SafetensorsFile.open(join(folder.path, trainingFile.name))
        : undefined
    const current = withCurrentTargets(config as AnyPeftConfig, model)
    await addLoadedAdapter(model, adapterName, current, options, async () => {
      const entries = new Map([...fileEntries(file), ...(further ? fileEntries(further) : [])])
      const { missing, unexpected, remark } = await setPeftModelStateDict(model, entries, adapterName)
      if (remark !== undefined) warn(`${folder.path}: ${remark}`)
      if (missing.length) {
        throw new Error(
          `${path} lacks ${missing.length} tensors of the adapter, the first "${missing[0]}"; it was made for another base model or is damaged`,
        )
      }
      if (unexpected.length) {
        warn(
          `${path} holds ${unexpected.length} tensors that the adapter has no place for, the first "${unexpected[0]}"`,
        )
      }
    })
  },

  async save(model, adapterName, folder) {
    await saveTrainingState(model, adapterName, folder)
    const config = savedConfig(model, model.configOf(adapterName), model.adapter(adapterName).targets)
    await writePeftAdapter(folder, { model, config, state: getPeftModelStateDict(model, adapterName) })
  },
}

/** Writes an adapter's tensors, model card and configuration; the last is written last, so a folder that has one is complete. */
export async function writePeftAdapter(
  folder: string,
  { model, config, state }: { model: PeftModel; config: PeftConfig; state: ReadonlyMap<string, Parameter> },
): Promise<void> {
  await saveFile(join(folder, ADAPTER_WEIGHTS), await parameterEntries(state), { format: 'pt' })
  await writeFileAtomic(join(folder, 'README.md'), modelCard(model, config))
  await writeConfig(folder, config.with({ inferenceMode: true }))
}

/** Writes `adapter_config.json`. */
export async function writeConfig(folder: string, config: PeftConfig): Promise<void> {
  await writeFileAtomic(join(folder, ADAPTER_CONFIG), config.toJSONString())
}

/** Writes the adapter's training file; where there is nothing to write, an older one goes. */
async function saveTrainingState(model: PeftModel, adapterName: string, folder: string): Promise<void> {
  const { trainingFile } = model.adapter(adapterName).method
  if (!trainingFile) return
  const path = join(folder, trainingFile.name)
  const state = getTrainingState(model, adapterName)
  if (state.size) await saveFile(path, await parameterEntries(state), { format: 'pt' })
  else await rm(path, { force: true })
}
