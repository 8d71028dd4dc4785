/** @file Saving a model as Transformers does. Node only. */
import { realpath } from 'node:fs/promises'
import { join } from 'node:path'
import type { Parameter } from '../nn/index.ts'
import { writeFileAtomic } from '../util/files.ts'
import { SafetensorsFile, saveFile } from '../weights/index.ts'
import type { PreTrainedModel } from './pretrained-model.ts'

/**
 * Writes `model.safetensors` (float32, buffers included, tied parameters under their first name) and `config.json` to
 * `folder`. The weights come first, so that a folder with a config.json is complete.
 */
export async function savePretrained(model: PreTrainedModel, folder: string): Promise<void> {
  const path = join(folder, 'model.safetensors')
  const parameters = [...model.namedTensors()]
  // What the new file will hold in parts cannot be read from it as a whole.
  const target = await realpath(path).catch(() => undefined)
  for (const [name, parameter] of parameters) {
    if (model.partsOf(name, parameter.shape) && readsFrom(parameter, target)) parameter.data = await parameter.read()
  }
  const entries = parameters.flatMap(([name, parameter]) => tensorsOf(model, name, parameter))
  await saveFile(path, entries, { format: 'pt' })

  // A model saved over the file that it was loaded from reads from the new file, where places may be others.
  await using file = await SafetensorsFile.open(path)
  const written = await realpath(path)
  for (const [name, parameter] of parameters) {
    if (readsFrom(parameter, written)) parameter.source = file.source(model.checkpointName(name))
  }

  const { config } = model
  const saved = config.with({
    architectures: [model.constructor.name],
    dtype: 'float32',
    ...('torch_dtype' in config.raw && { torch_dtype: 'float32' }),
  })
  // What is written is dequantised, whatever the model was loaded from.
  const unquantized = config.quantization_config ? saved.without('quantization_config') : saved
  await writeFileAtomic(join(folder, 'config.json'), unquantized.toJSONString())
}

/** Whether a parameter's values are still to be read from a file. */
function readsFrom(parameter: Parameter, path: string | undefined): boolean {
  if (parameter.isLoaded || parameter.quantized) return false
  const { source } = parameter
  return source.kind === 'file' && source.path === path
}

/** What the file holds of a parameter: one tensor, or its parts where Transformers writes them apart. */
function tensorsOf(model: PreTrainedModel, name: string, parameter: Parameter) {
  const dtype = 'F32' as const
  const parts = model.partsOf(name, parameter.shape)
  if (!parts) return [{ name: model.checkpointName(name), dtype, shape: parameter.shape, read: () => parameter.read() }]
  const width = parameter.shape.at(-1)!
  const size = parameter.size / parts.length
  // Read once for all parts, which stand apart in the file.
  let values: Promise<Float32Array> | undefined
  let left = parts.length
  return parts.map((part, i) => ({
    name: model.checkpointName(part),
    dtype,
    shape: [size / width, width],
    read: async () => {
      values ??= parameter.read()
      const all = await values
      left -= 1
      if (left === 0) values = undefined
      return all.slice(i * size, (i + 1) * size)
    },
  }))
}
