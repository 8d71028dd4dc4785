/** @file Saving a model as Transformers does. Node only. */
import { realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { writeFileAtomic } from '../util/files.ts'
import { SafetensorsFile, saveFile } from '../weights/index.ts'
import { createConfig } from './config/pretrained.ts'
import type { PretrainedConfig } from './config.ts'
import type { PreTrainedModel } from './pretrained-model.ts'

/**
 * Writes `model.safetensors` (float32, buffers included, tied parameters under their first name) and `config.json` to
 * `folder`. The weights come first, so that a folder with a config.json is complete.
 */
export async function savePretrained(model: PreTrainedModel, folder: string): Promise<void> {
  const path = join(folder, 'model.safetensors')
  const parameters = [...model.namedTensors()]
  const entries = parameters.map(([name, parameter]) => ({
    name,
    dtype: 'F32' as const,
    shape: parameter.shape,
    read: () => parameter.read(),
  }))
  await saveFile(path, entries, { format: 'pt' })

  // A model saved over the file that it was loaded from reads from the new file, where places may be others.
  await using file = await SafetensorsFile.open(path)
  const target = await realpath(path)
  for (const [name, parameter] of parameters) {
    if (parameter.isLoaded || parameter.quantized) continue
    const { source } = parameter
    if (source.kind === 'file' && source.path === target) parameter.source = file.source(name)
  }

  const { config } = model
  const written = config.with({
    architectures: [model.constructor.name],
    dtype: 'float32',
    ...('torch_dtype' in config.raw && { torch_dtype: 'float32' }),
  })
  const unquantized = config.quantization_config ? withoutQuantization(written) : written
  await writeFileAtomic(join(folder, 'config.json'), unquantized.toJSONString())
}

/** What is written is dequantised, whatever the model was loaded from. */
function withoutQuantization<T extends PretrainedConfig>(config: T): T {
  const { quantization_config: _, ...rest } = config.toJSON()
  return createConfig(rest, config.label) as T
}
