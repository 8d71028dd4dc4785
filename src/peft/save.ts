/** @file Writes adapters to disk, each in the format of its method. Node only. */
import { join } from 'node:path'
import { SafetensorsFile } from '../weights/index.ts'
import { getAdapterFormat } from './formats.ts'
import type { PeftModel, SaveAdapterOptions } from './model.ts'
import { ADAPTER_WEIGHTS, PEFT_FORMAT, writePeftAdapter } from './peft-format.ts'
import { savedConfig } from './saved-targets.ts'
import { getPeftModelStateDict } from './state-dict.ts'

/** Writes adapters: the one called `default` into `folder` itself, others into folders of their names. */
export async function saveAdapters(model: PeftModel, folder: string, options: SaveAdapterOptions): Promise<void> {
  const { convertToPlainLora, pathInitialModelForWeightConversion } = options
  for (const adapterName of options.selectedAdapters ?? model.adapterNames()) {
    const target = adapterName === 'default' ? folder : join(folder, adapterName)
    if (convertToPlainLora || pathInitialModelForWeightConversion !== undefined) {
      await savePlain(model, adapterName, target, pathInitialModelForWeightConversion)
      continue
    }
    await saveAdapter(model, adapterName, target)
  }
}

/** Writes one adapter into `folder` itself, in the format of its method. */
export async function saveAdapter(model: PeftModel, adapterName: string, folder: string): Promise<void> {
  const { method, config } = model.adapter(adapterName)
  const name = method.format?.(config) ?? PEFT_FORMAT.name
  const format = name === PEFT_FORMAT.name ? PEFT_FORMAT : getAdapterFormat(name)
  await format.save(model, adapterName, folder)
}

/** Writes adapters as a model that carries them does: a single one into `folder` itself, several into folders of their names. */
export async function saveActiveAdapters(
  model: PeftModel,
  adapterNames: readonly string[],
  folder: string,
): Promise<void> {
  for (const name of adapterNames)
    await saveAdapter(model, name, adapterNames.length === 1 ? folder : join(folder, name))
}

async function savePlain(
  model: PeftModel,
  adapterName: string,
  target: string,
  initialFolder: string | undefined,
): Promise<void> {
  const adapter = model.adapter(adapterName)
  const { method } = adapter
  if (!method.toPlain) {
    throw new Error(
      `convertToPlainLora works with LoRA, "${adapterName}" is of ${method.about.title}; leave it out of selectedAdapters`,
    )
  }
  const own = getPeftModelStateDict(model, adapterName)
  const { config, state } = method.toPlain(
    adapter,
    own,
    initialFolder ? await initialTensors(initialFolder) : undefined,
  )
  await writePeftAdapter(target, { model, config: savedConfig(model, config, adapter.targets), state })
}

async function initialTensors(folder: string): Promise<Map<string, Float32Array>> {
  await using file = await SafetensorsFile.open(join(folder, ADAPTER_WEIGHTS))
  const tensors = new Map<string, Float32Array>()
  for (const name of file.names) tensors.set(name, await file.readFloat32(name))
  return tensors
}
