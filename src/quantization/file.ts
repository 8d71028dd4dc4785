/** @file A file of quantised tensors, written once and mapped at every start. Node only. */
import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { SafetensorsError, SafetensorsFile, saveFile, type TensorEntry, type TensorSource } from '../weights/index.ts'
import { type QuantizedLayout, sizesOf } from './layout.ts'
import { QuantizedTensor } from './tensor.ts'

/** A tensor to be written in packed form. */
export interface QuantizedEntry {
  readonly name: string
  readonly layout: QuantizedLayout
  /** Its parts one behind the other, in pieces: see `joinParts`. */
  readonly stream: () => AsyncIterable<ArrayBufferView>
}

const KEY = 'peft_ts.quantized'
/** Changed when files written before are not to be read any more. */
const VERSION = 2

/** Quantised tensors, and float32 ones beside them, in a safetensors file. */
export class QuantizedFile {
  readonly #file: SafetensorsFile
  readonly #layouts: ReadonlyMap<string, QuantizedLayout>

  private constructor(file: SafetensorsFile, layouts: ReadonlyMap<string, QuantizedLayout>) {
    this.#file = file
    this.#layouts = layouts
  }

  /** Opens a file; undefined where there is none, or none that can be read, so that it has to be made. */
  static async open(path: string): Promise<QuantizedFile | undefined> {
    let file: SafetensorsFile
    try {
      file = await SafetensorsFile.open(path)
    } catch (error) {
      if (error instanceof SafetensorsError) return undefined
      throw error
    }
    await file.close()
    const layouts = readLayouts(file)
    return layouts && new QuantizedFile(file, layouts)
  }

  /**
   * Writes a file, tensor by tensor, and opens it. A reader sees no part of it before it is whole.
   *
   * @param others tensors that are not quantised
   */
  static async write(
    path: string,
    entries: readonly QuantizedEntry[],
    others: readonly TensorEntry[],
  ): Promise<QuantizedFile> {
    const blobs = entries.map(({ name, layout, stream }): TensorEntry => {
      return { name, dtype: 'U8', shape: [sizesOf(layout).totalBytes], stream }
    })
    const layouts = Object.fromEntries(entries.map(({ name, layout }) => [name, layout]))
    await saveFile(path, [...blobs, ...others], { [KEY]: JSON.stringify({ version: VERSION, layouts }) })
    await writeFile(join(dirname(path), 'CACHEDIR.TAG'), 'Signature: 8a477f597d28d172789f06886806bc55\n')
    const written = await QuantizedFile.open(path)
    if (!written) throw new Error(`${path}: the file that was just written cannot be read; is the disk sound?`)
    return written
  }

  /** The tensors that are quantised, with their layouts. */
  get layouts(): ReadonlyMap<string, QuantizedLayout> {
    return this.#layouts
  }

  /** The tensors that are not. */
  get others(): readonly string[] {
    return this.#file.names.filter(name => !this.#layouts.has(name))
  }

  /** The shape of a tensor's values. */
  shape(name: string): readonly number[] {
    const layout = this.#layouts.get(name)
    return layout ? [layout.rows, layout.columns] : this.#file.info(name).shape
  }

  /** Where a tensor that is not quantised lies. */
  source(name: string): TensorSource {
    return this.#file.source(name)
  }

  /** A quantised tensor; `transposed` where its parameter is the transpose of what is packed. */
  tensor(name: string, transposed: boolean): QuantizedTensor {
    return new QuantizedTensor(name, { ...this.#layouts.get(name)!, transposed }, this.#file.source(name))
  }
}

function readLayouts(file: SafetensorsFile): Map<string, QuantizedLayout> | undefined {
  try {
    const { version, layouts } = JSON.parse(file.metadata?.[KEY] ?? '{}')
    if (version !== VERSION) return undefined
    const found = new Map<string, QuantizedLayout>(Object.entries(layouts))
    const isWhole = [...found].every(([name, layout]) => file.info(name).byteLength === sizesOf(layout).totalBytes)
    return isWhole ? found : undefined
  } catch {
    return undefined
  }
}
