/** @file Writes adapters to disk, as PEFT does. Node only. */
import { join } from 'node:path'
import { writeFileAtomic } from '../util/files.ts'
import { saveFile } from '../weights/index.ts'
import type { PeftModel } from './model.ts'
import { modelCard } from './model-card.ts'
import { getPeftModelStateDict } from './state-dict.ts'

/** The file names of an adapter. */
export const ADAPTER_CONFIG = 'adapter_config.json'
export const ADAPTER_WEIGHTS = 'adapter_model.safetensors'

/**
 * Writes adapters: the one called `default` into `folder` itself, others into folders of their names. The
 * configuration is written last, so a folder that has one is complete.
 */
export async function saveAdapters(model: PeftModel, folder: string, adapterNames: readonly string[]): Promise<void> {
  for (const adapterName of adapterNames) {
    const config = model.configOf(adapterName)
    const target = adapterName === 'default' ? folder : join(folder, adapterName)
    const entries = await Promise.all(
      [...getPeftModelStateDict(model, adapterName)].map(async ([name, parameter]) => ({
        name,
        dtype: 'F32' as const,
        shape: parameter.shape,
        bytes: await parameter.read(),
      })),
    )
    await saveFile(join(target, ADAPTER_WEIGHTS), entries, { format: 'pt' })
    await writeFileAtomic(join(target, 'README.md'), modelCard(model, config))
    await writeFileAtomic(
      join(target, ADAPTER_CONFIG),
      (config.with({ inferenceMode: true }) as typeof config).toJSONString(),
    )
  }
}
