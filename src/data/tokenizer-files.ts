/** @file The files of a tokenizer folder, and the settings they hold. */

/** A tokenizer's files: name relative to the folder, with '/', to content. */
export type TokenizerFiles = ReadonlyMap<string, Uint8Array>

/** A parsed JSON object. */
export type JsonObject = Record<string, unknown>

const fileNames = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
  'chat_template.json',
  'vocab.json',
  'merges.txt',
  'vocab.txt',
  'tokenizer.model',
  'sentencepiece.bpe.model',
  'spiece.model',
]

const extraTemplates = 'additional_chat_templates'

const specialTokenNames = [
  'bos_token',
  'eos_token',
  'unk_token',
  'sep_token',
  'pad_token',
  'cls_token',
  'mask_token',
] as const

/** The names under which `tokenizer_config.json` gives the special tokens. */
export type SpecialTokenName = (typeof specialTokenNames)[number]

/** Reads every tokenizer file of a folder. Node only. */
export async function readTokenizerFolder(folder: string): Promise<TokenizerFiles> {
  const { readdir, readFile } = await import('node:fs/promises')
  const { join } = await import('node:path')
  let present: string[]
  try {
    present = await readdir(folder)
  } catch (cause) {
    throw new Error(
      `Could not read a tokenizer from ${folder}: there is no such folder. Expected a local folder with tokenizer.json.`,
      { cause },
    )
  }
  if (!present.includes('tokenizer.json')) {
    const slow = present.filter(name => fileNames.includes(name) && /^(vocab|merges|tokenizer\.model|s)/.test(name))
    const wayOut = slow.length
      ? ` It has a tokenizer of the older kind (${slow.join(', ')}); convert it once in Python: ` +
        `AutoTokenizer.from_pretrained("...").save_pretrained("...") writes tokenizer.json.`
      : ''
    throw new Error(`Could not read a tokenizer from ${folder}: it has no tokenizer.json.${wayOut}`)
  }
  const names = fileNames.filter(name => present.includes(name))
  if (present.includes(extraTemplates)) {
    const extra = await readdir(join(folder, extraTemplates))
    names.push(...extra.filter(name => name.endsWith('.jinja')).map(name => `${extraTemplates}/${name}`))
  }
  const entries = names.map(async name => [name, new Uint8Array(await readFile(join(folder, name)))] as const)
  return new Map(await Promise.all(entries))
}

/** What the files say. Errors name the tokenizer and the file. */
export function tokenizerSettings(name: string, files: TokenizerFiles) {
  const definition = readObject(name, files, 'tokenizer.json')
  if (!definition) throw new Error(`Could not build the tokenizer of ${name}: tokenizer.json is missing.`)
  const config = readObject(name, files, 'tokenizer_config.json') ?? {}
  const map = readObject(name, files, 'special_tokens_map.json') ?? {}
  const specialTokens: Partial<Record<SpecialTokenName, string>> = {}
  for (const key of specialTokenNames) {
    const content = contentOf(config[key]) ?? contentOf(map[key])
    if (content !== undefined) specialTokens[key] = content
  }
  const templateTokens = { ...namedTokens(config), ...namedTokens(config.extra_special_tokens), ...specialTokens }
  return { definition, config, specialTokens, templateTokens, templates: chatTemplates(name, files, config) }
}

/** Special tokens of the model's own that have names, such as `image_token`. */
function namedTokens(config: unknown): Record<string, string> {
  if (typeof config !== 'object' || config === null || Array.isArray(config)) return {}
  const entries = Object.entries(config).map(([key, token]) => [key, contentOf(token)] as const)
  return Object.fromEntries(
    entries.filter((entry): entry is [string, string] => entry[0].endsWith('_token') && entry[1] !== undefined),
  )
}

/** A special token is written as a string or as an object with its content. */
function contentOf(token: unknown): string | undefined {
  if (typeof token === 'string') return token
  const content = (token as JsonObject | null | undefined)?.content
  return typeof content === 'string' ? content : undefined
}

/** Files win over `tokenizer_config.json`, as in Transformers. */
function chatTemplates(name: string, files: TokenizerFiles, config: JsonObject): Map<string, string> {
  const templates = new Map<string, string>()
  const add = (value: unknown) => {
    if (typeof value === 'string') templates.set('default', value)
    else if (Array.isArray(value)) for (const { name, template } of value) templates.set(name, template)
    else if (value) for (const [key, template] of Object.entries(value)) templates.set(key, template as string)
  }
  add(config.chat_template)
  add(readObject(name, files, 'chat_template.json')?.chat_template)
  for (const [file, bytes] of files) {
    if (file === 'chat_template.jinja') templates.set('default', decodeText(bytes))
    else if (file.startsWith(`${extraTemplates}/`)) {
      templates.set(file.slice(extraTemplates.length + 1, -'.jinja'.length), decodeText(bytes))
    }
  }
  return templates
}

function readObject(name: string, files: TokenizerFiles, file: string): JsonObject | undefined {
  const bytes = files.get(file)
  if (!bytes) return undefined
  try {
    return JSON.parse(decodeText(bytes)) as JsonObject
  } catch (cause) {
    throw new Error(`Could not read the tokenizer of ${name}: ${file} is not JSON (${(cause as Error).message}).`, {
      cause,
    })
  }
}

function decodeText(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes)
}
