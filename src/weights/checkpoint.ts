/** @file The weights in a model's folder: one safetensors file, or the shards that an index names. Node only. */
import { readFile, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { didYouMean } from '../util/nearest.ts'
import { toFloat32 } from './cast.ts'
import { SafetensorsError } from './error.ts'
import { SafetensorsFile, sourceOf } from './file.ts'
import { describeFolder, explainPickle, findPickles, isPickle } from './folder.ts'
import type { Metadata } from './header.ts'
import { JsonError, type JsonValue, parseStrictJson } from './json.ts'
import type { ByteRange, TensorInfo, TensorReader } from './reader.ts'
import type { FileSource } from './source.ts'

/** How a checkpoint's files are called. */
export interface CheckpointOptions {
  /** The file name without `.safetensors`: `model` (default), `adapter_model`, `diffusion_pytorch_model`. */
  baseName?: string
}

/**
 * All tensors of a model's folder, from `model.safetensors` or from the shards of `model.safetensors.index.json`; the
 * single file wins where both are there, as in Transformers. A tensor that is in a shard but not in the index is
 * offered as well. No tensor is read before it is asked for.
 *
 * @example
 * await using checkpoint = await Checkpoint.open('Llama-3.2-1B')
 * for (const name of checkpoint.names) console.log(name, checkpoint.info(name).shape)
 */
export class Checkpoint implements TensorReader {
  readonly names: readonly string[]
  readonly metadata: Metadata | undefined
  readonly paths: readonly string[]
  readonly #folder: string
  readonly #shards: readonly SafetensorsFile[]
  readonly #shardOf: ReadonlyMap<string, SafetensorsFile>

  private constructor(
    folder: string,
    shards: readonly SafetensorsFile[],
    shardOf: ReadonlyMap<string, SafetensorsFile>,
  ) {
    this.names = [...shardOf.keys()]
    this.metadata = shards[0]?.metadata
    this.paths = shards.flatMap(shard => shard.paths)
    this.#folder = folder
    this.#shards = shards
    this.#shardOf = shardOf
  }

  /**
   * Opens the weights in `folder`.
   *
   * @throws SafetensorsError where there are none (with what is in the folder), where there are only pickles (with how
   * to convert them), or where the index is broken or does not agree with its shards
   */
  static async open(folder: string, options: CheckpointOptions = {}): Promise<Checkpoint> {
    const baseName = options.baseName ?? 'model'
    await checkFolder(folder)
    const single = join(folder, `${baseName}.safetensors`)
    if (await exists(single)) {
      const file = await SafetensorsFile.open(single)
      return new Checkpoint(folder, [file], new Map(file.names.map(name => [name, file])))
    }
    const index = join(folder, `${baseName}.safetensors.index.json`)
    if (!(await exists(index))) throw await explainMissing(folder, baseName)
    const weightMap = await readIndex(index)
    const shards = await openShards(folder, index, new Set(weightMap.values()))
    try {
      return new Checkpoint(folder, [...shards.values()], assignTensors(index, weightMap, shards))
    } catch (error) {
      await closeAll(shards.values())
      throw error
    }
  }

  has(name: string): boolean {
    return this.#shardOf.has(name)
  }

  info(name: string): TensorInfo {
    return this.#shard(name).info(name)
  }

  source(name: string): FileSource {
    return sourceOf(this.info(name))
  }

  async read(name: string, range?: ByteRange): Promise<Uint8Array> {
    return this.#shard(name).read(name, range)
  }

  async readFloat32(name: string): Promise<Float32Array> {
    return toFloat32(this.info(name).dtype, await this.read(name))
  }

  async close(): Promise<void> {
    await closeAll(this.#shards)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #shard(name: string): SafetensorsFile {
    const shard = this.#shardOf.get(name)
    if (shard) return shard
    throw new SafetensorsError(
      this.#folder,
      `no such tensor, expected one of the ${this.names.length} in the checkpoint.${didYouMean(name, this.names)}`,
      { tensor: name },
    )
  }
}

async function closeAll(files: Iterable<SafetensorsFile>): Promise<void> {
  await Promise.all([...files].map(file => file.close()))
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

async function checkFolder(folder: string): Promise<void> {
  const found = await stat(folder).catch(() => undefined)
  if (!found) throw new SafetensorsError(folder, `no such folder. ${await describeFolder(folder)}`)
  if (!found.isDirectory()) {
    throw new SafetensorsError(folder, 'is a file, expected a folder; open one file with SafetensorsFile.open.')
  }
}

async function explainMissing(folder: string, baseName: string): Promise<SafetensorsError> {
  const wanted = `${baseName}.safetensors`
  const pickles = await findPickles(folder)
  if (pickles.length === 1) return new SafetensorsError(pickles[0], explainPickle(pickles[0], wanted))
  if (pickles.length > 1) {
    const names = pickles.map(path => basename(path)).join(', ')
    const example = explainPickle(pickles[0], `${basename(pickles[0]).replace(/\.[^.]+$/, '')}.safetensors`)
    return new SafetensorsError(
      folder,
      `there is no ${wanted}, only pickles (${names}). Each ${example}; shards of one model are joined by Transformers: ` +
        `python -c 'from transformers import AutoModel; AutoModel.from_pretrained(".").save_pretrained(".")'`,
    )
  }
  return new SafetensorsError(
    folder,
    `there is neither ${wanted} nor ${wanted}.index.json. ${await describeFolder(folder, wanted)}`,
  )
}

async function readIndex(path: string): Promise<Map<string, string>> {
  let index: JsonValue
  try {
    index = parseStrictJson(await readFile(path, 'utf8'))
  } catch (cause) {
    if (!(cause instanceof JsonError)) throw cause
    throw new SafetensorsError(path, `the index is not valid JSON: ${cause.message}; download it again.`, { cause })
  }
  const weightMap = index instanceof Map ? index.get('weight_map') : undefined
  if (!(weightMap instanceof Map) || weightMap.size === 0) {
    throw new SafetensorsError(path, 'got no weight_map, expected an object from tensor names to file names.')
  }
  for (const [tensor, shard] of weightMap) {
    const problem = explainBadShard(shard)
    if (problem) throw new SafetensorsError(path, problem, { tensor })
  }
  return weightMap as Map<string, string>
}

function explainBadShard(shard: JsonValue): string | undefined {
  if (typeof shard !== 'string') return 'weight_map does not give a file name, expected a string.'
  if (isPickle(shard))
    return `weight_map names "${shard}", a pickle; pickles are refused because loading one runs code.`
  // Backslashes and drive letters count too: an index that is harmless on one platform may not be on another.
  if (!/^[^/\\:\0]+\.safetensors$/.test(shard)) {
    return `weight_map names ${JSON.stringify(shard)}, expected the name of a .safetensors file in the same folder.`
  }
  return undefined
}

async function openShards(
  folder: string,
  index: string,
  names: ReadonlySet<string>,
): Promise<Map<string, SafetensorsFile>> {
  const missing: string[] = []
  for (const name of names) if (!(await exists(join(folder, name)))) missing.push(name)
  if (missing.length > 0) {
    throw new SafetensorsError(
      index,
      `${missing.length} of ${names.size} shards are missing: ${missing.join(', ')}; download them again. ${await describeFolder(folder)}`,
    )
  }
  const shards = new Map<string, SafetensorsFile>()
  try {
    for (const name of names) shards.set(name, await SafetensorsFile.open(join(folder, name)))
  } catch (error) {
    await closeAll(shards.values())
    throw error
  }
  return shards
}

function assignTensors(
  index: string,
  weightMap: ReadonlyMap<string, string>,
  shards: ReadonlyMap<string, SafetensorsFile>,
): Map<string, SafetensorsFile> {
  for (const [tensor, name] of weightMap) {
    if (shards.get(name)?.has(tensor)) continue
    const holder = [...shards].find(([, shard]) => shard.has(tensor))
    const hint = holder ? ` It is in ${holder[0]}.` : ' It is in no shard.'
    throw new SafetensorsError(index, `weight_map expects it in ${name}, which does not hold it.${hint}`, { tensor })
  }
  const result = new Map<string, SafetensorsFile>()
  for (const [name, shard] of shards) {
    for (const tensor of shard.names) {
      const listed = weightMap.get(tensor)
      if (listed !== undefined && listed !== name) continue
      if (result.has(tensor)) {
        throw new SafetensorsError(
          index,
          'is in two shards and not in weight_map, expected to know which one counts.',
          {
            tensor,
          },
        )
      }
      result.set(tensor, shard)
    }
  }
  return result
}
