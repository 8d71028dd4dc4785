/** @file Finding adapters by what was named: a folder, a folder of folders, a hub id, each with or without a name. */
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'

/** An adapter that was found. */
export interface FoundAdapter {
  /** What requests call it. */
  id: string
  /** A folder or a hub id. */
  source: string
}

const CONFIG = 'adapter_config.json'

/**
 * The adapters that words stand for: `name=folder`, a folder that holds an adapter, or one whose folders do. What is no
 * folder here is taken for a hub id.
 *
 * @throws when a folder holds no adapter, or a name is given twice
 */
export async function findAdapters(words: readonly string[]): Promise<FoundAdapter[]> {
  const found = (await Promise.all(words.map(findOne))).flat()
  for (const [i, { id, source }] of found.entries()) {
    const other = found.findIndex(adapter => adapter.id === id)
    if (other < i) {
      throw new Error(
        `Two adapters are called "${id}": ${found[other].source} and ${source}; name one of them, as in other=${source}`,
      )
    }
  }
  return found
}

async function findOne(word: string): Promise<FoundAdapter[]> {
  const [, name, source] = /^([^=/\\]+)=(.+)$/.exec(word) ?? [undefined, undefined, word]
  if (!existsSync(source)) return [{ id: name ?? basename(source), source }]
  if (existsSync(join(source, CONFIG))) return [{ id: name ?? basename(resolve(source)), source }]
  const inner = (await readdir(source)).sort().filter(entry => existsSync(join(source, entry, CONFIG)))
  if (inner.length === 0) {
    throw new Error(
      `There is no adapter in ${source}: neither it nor a folder in it holds ${CONFIG}; give the folder that training wrote`,
    )
  }
  if (name !== undefined) {
    throw new Error(
      `${source} holds ${inner.length} adapters (${inner.join(', ')}) and cannot be called "${name}"; leave the name out, or name one of them, as in ${name}=${join(source, inner[0])}`,
    )
  }
  return inner.map(id => ({ id, source: join(source, id) }))
}

/** A name that a model takes for an adapter with this id, other than those that are taken. */
export function adapterNameFor(id: string, taken: Iterable<string>): string {
  const others = new Set(taken)
  const plain = id.replace(/[.\s/\\]/g, '_')
  let name = plain
  for (let i = 2; others.has(name); i++) name = `${plain}_${i}`
  return name
}
