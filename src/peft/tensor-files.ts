/** @file What the formats of adapters share: parameters as entries of a file, tensors of a file as values. */
import type { Parameter } from '../nn/index.ts'
import type { SafetensorsFile, TensorEntry } from '../weights/index.ts'
import type { AnyPeftConfig, LoadAdapterOptions, PeftModel } from './model.ts'
import type { StateDictEntry } from './state-dict.ts'

/** Parameters as entries of a safetensors file. */
export async function parameterEntries(parameters: ReadonlyMap<string, Parameter>): Promise<TensorEntry[]> {
  return Promise.all(
    [...parameters].map(async ([name, parameter]): Promise<TensorEntry> => {
      const { shape, isIndex } = parameter
      const values = await parameter.read()
      return isIndex
        ? { name, dtype: 'I32', shape, bytes: Int32Array.from(values) }
        : { name, dtype: 'F32', shape, bytes: values }
    }),
  )
}

/** The tensors of a file, to be read when they are needed. */
export function fileEntries(file: SafetensorsFile): Map<string, StateDictEntry> {
  return new Map(file.names.map(name => [name, { shape: file.info(name).shape, read: () => file.readFloat32(name) }]))
}

/** Adds an adapter that `fill` gives its values. When that fails, the adapter is not added. */
export async function addLoadedAdapter(
  model: PeftModel,
  adapterName: string,
  config: AnyPeftConfig,
  { isTrainable = false }: LoadAdapterOptions,
  fill: () => Promise<void>,
): Promise<void> {
  model.addAdapter(adapterName, config.with({ inferenceMode: !isTrainable }) as AnyPeftConfig, { strict: false })
  try {
    await fill()
  } catch (cause) {
    model.deleteAdapter(adapterName)
    throw cause
  }
}
