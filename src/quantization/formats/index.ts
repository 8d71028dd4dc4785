/** @file Reading checkpoints that are quantised already: which library wrote them says config.json. */
import { join } from 'node:path'
import { didYouMean } from '../../util/nearest.ts'
import {
  defaultCacheDir,
  fingerprint,
  float32Entries,
  type JoinedTensor,
  type TensorReader,
} from '../../weights/index.ts'
import { QuantizedFile } from '../file.ts'
import { readAwq } from './awq.ts'
import { readBitsAndBytes } from './bitsandbytes.ts'
import type { PackedTensors, RawConfig } from './format.ts'
import { readGptq } from './gptq.ts'

const READERS: Readonly<Record<string, (checkpoint: TensorReader, config: RawConfig) => Promise<PackedTensors>>> = {
  bitsandbytes: readBitsAndBytes,
  gptq: readGptq,
  awq: readAwq,
}

/** The methods whose checkpoints are read. */
export const READABLE_METHODS: readonly string[] = Object.keys(READERS)

/**
 * The tensors of a checkpoint that is quantised already, in our form: the same values, in a file in the cache that is
 * made once. Other tensors of floating point become float32.
 *
 * @param where names the model in messages
 * @param config `quantization_config` of the model's config.json
 * @throws where the method is not one of {@link READABLE_METHODS}, or its tensors are not what it writes
 */
export async function readQuantized(
  checkpoint: TensorReader,
  config: RawConfig,
  where: string,
  options: { cacheDir?: string; joined?: readonly JoinedTensor[] } = {},
): Promise<QuantizedFile> {
  const { cacheDir = defaultCacheDir(), joined = [] } = options
  const method = String(config.quant_method ?? 'an unnamed method')
  const read = Object.hasOwn(READERS, method) ? READERS[method] : undefined
  if (!read) {
    throw new Error(
      `${where}: the weights are quantised by ${method}, which is not read (${READABLE_METHODS.join(', ')} are).` +
        `${didYouMean(method, READABLE_METHODS)} Take the publication of the model in float32, float16 or bfloat16.`,
    )
  }
  const key = await fingerprint(checkpoint, [config, joined.map(({ name, parts, shape }) => [name, parts, shape])])
  const path = join(cacheDir, 'quantized', `${key}.safetensors`)
  const known = await QuantizedFile.open(path)
  if (known) return known
  const { entries, consumed } = await read(checkpoint, config)
  if (entries.length === 0) {
    throw new Error(
      `${where}: config.json says that the weights are quantised by ${method}, and no tensor is; ` +
        'take config.json and weights from the same publication',
    )
  }
  const parts = new Set(joined.flatMap(tensor => tensor.parts))
  const others = checkpoint.names.filter(name => !consumed.has(name) && !parts.has(name))
  return QuantizedFile.write(path, entries, float32Entries(checkpoint, [...others, ...joined]))
}
