/** @file Putting the values of another adapter in the place of one's own, without a new compilation. Node only. */
import { join } from 'node:path'
import { resolveModelFolder } from '../models/hub.ts'
import type { Parameter } from '../nn/index.ts'
import { SafetensorsFile } from '../weights/index.ts'
import { loadPeftConfig } from './load.ts'
import { refuseMerged } from './merging.ts'
import type { PeftModel } from './model.ts'
import { ADAPTER_WEIGHTS } from './peft-format.ts'
import { getPeftModelStateDict } from './state-dict.ts'
import { changed } from './tuner-layer.ts'

/** Options of {@link hotswapAdapter}. */
export interface HotswapOptions {
  revision?: string
}

/**
 * Gives an adapter the values of the one in a folder or of a hub id. It keeps its name, its place and its parameters,
 * so that what was compiled goes on with the new values. Matrices of a smaller rank are filled up with zeros; for larger
 * ones the adapter is made anew, which is compiled again. Layers that the other adapter leaves alone are left alone.
 *
 * @throws when the adapter is merged, the other one is of another method or has other options, or works on layers that
 *   this one does not; then nothing was changed
 */
export async function hotswapAdapter(
  model: PeftModel,
  folderOrHubId: string,
  adapterName = 'default',
  options: HotswapOptions = {},
): Promise<void> {
  const adapter = model.adapter(adapterName)
  if (model.mergedAdapters.includes(adapterName)) refuseMerged([adapterName], 'It cannot be swapped')
  const folder = await resolveModelFolder(folderOrHubId, { revision: options.revision })
  const config = await loadPeftConfig(folder)
  const { method } = adapter
  if (config.peftType !== method.peftType) {
    throw new Error(
      `hotswapAdapter: "${adapterName}" is ${method.peftType}, ${folder} holds ${config.peftType}; load it beside, with loadAdapter`,
    )
  }
  if (!method.swap) {
    throw new Error(
      `hotswapAdapter: ${method.about.title} cannot be swapped in place; load the other adapter beside, with loadAdapter, and switch with setAdapter`,
    )
  }
  await using file = await SafetensorsFile.open(join(folder, ADAPTER_WEIGHTS))
  const shapes = new Map(file.names.map(name => [name, file.info(name).shape]))
  const before = getPeftModelStateDict(model, adapterName)
  const strange = file.names.filter(name => !before.has(name))
  if (strange.length) {
    throw new Error(
      `hotswapAdapter: ${folder} holds ${strange.length} tensors that "${adapterName}" has no place for, the first "${strange[0]}"; load it beside, with loadAdapter`,
    )
  }
  const values = new Map<string, Float32Array>()
  for (const name of file.names) values.set(name, await file.readFloat32(name))

  adapter.config = method.swap(adapter, config, shapes)
  model.peftConfig[adapterName] = adapter.config
  const own = getPeftModelStateDict(model, adapterName)
  if ([...own].some(([name, parameter]) => before.get(name) !== parameter)) model.refreshTrained(adapterName)
  for (const [name, parameter] of own) {
    const data = values.get(name)
    parameter.data = data ? filledUp(data, shapes.get(name)!, parameter) : new Float32Array(parameter.size)
  }
  changed(adapter.state)
}

/** Values of a smaller matrix, with zeros where the larger one has more rows or columns. */
function filledUp(data: Float32Array, shape: readonly number[], { shape: target, size }: Parameter): Float32Array {
  if (shape.join() === target.join()) return data.slice()
  const result = new Float32Array(size)
  const [width, newWidth] = [data.length / shape[0], size / target[0]]
  for (let row = 0; row < shape[0]; row++) result.set(data.subarray(row * width, (row + 1) * width), row * newWidth)
  return result
}
