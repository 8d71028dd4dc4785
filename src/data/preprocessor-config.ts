/** @file How a model's inputs are prepared: preprocessor_config.json, and the newer processor_config.json. */

/** A parsed JSON object. */
type JsonObject = Readonly<Record<string, unknown>>

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Reads the values of one part of a model's preparation, with the file named in every error. */
export class PreprocessorReader {
  readonly json: JsonObject
  readonly label: string

  constructor(json: unknown, label: string) {
    if (!isObject(json)) throw new Error(`${label}: got ${JSON.stringify(json)}, expected a JSON object.`)
    this.json = json
    this.label = label
  }

  fail(key: string, expected: string): never {
    throw new Error(`${this.label}: "${key}" is ${JSON.stringify(this.json[key])}, expected ${expected}.`)
  }

  number(key: string, fallback: number, isRight = (value: number) => Number.isFinite(value)): number {
    const value = this.json[key] ?? fallback
    return typeof value === 'number' && isRight(value) ? value : this.fail(key, `a number such as ${fallback}`)
  }

  /** A whole number of at least 1. */
  count(key: string, fallback: number): number {
    return this.number(key, fallback, value => Number.isInteger(value) && value >= 1)
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.json[key] ?? fallback
    return typeof value === 'boolean' ? value : this.fail(key, 'true or false')
  }
}

/**
 * Opens what a model's folder says of the preparation of `part`. Node only.
 *
 * @throws when the folder says nothing, or the file is not valid
 */
export async function openPreprocessor(
  folder: string,
  part: 'feature_extractor' | 'image_processor',
): Promise<PreprocessorReader> {
  const { readFile } = await import('node:fs/promises')
  const { join } = await import('node:path')
  for (const name of ['preprocessor_config.json', 'processor_config.json']) {
    const path = join(folder, name)
    let json: unknown
    try {
      json = JSON.parse(await readFile(path, 'utf8'))
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') continue
      throw new Error(`${path} could not be read: ${(cause as Error).message}. Repair the file or fetch it again.`, {
        cause,
      })
    }
    // The newer file holds each part under its name, the older one holds one part only.
    const own = isObject(json) ? json[part] : undefined
    if (own !== undefined || name === 'preprocessor_config.json') return new PreprocessorReader(own ?? json, path)
  }
  throw new Error(
    `${folder} has no preprocessor_config.json and no processor_config.json with "${part}". Take the folder that the ` +
      'model was published in, or give the settings yourself.',
  )
}
