/** @file Explanations for missing and pickled weight files. Node only. */
import { readdir } from 'node:fs/promises'
import { basename, dirname, extname, join } from 'node:path'
import { didYouMean } from '../util/nearest.ts'

const PICKLES = new Set(['.bin', '.pt', '.pth', '.ckpt', '.pkl'])
const LISTED = 20

/** Whether a file of this name is a pickle, by its extension. */
export function isPickle(name: string): boolean {
  return PICKLES.has(extname(name).toLowerCase())
}

/** Why the pickle at `path` is not read, and the line of Python that converts it. */
export function explainPickle(path: string, target: string): string {
  const line =
    'import torch; from safetensors.torch import save_file; ' +
    `save_file({k: v.clone().contiguous() for k, v in torch.load("${basename(path)}", map_location="cpu", weights_only=True).items()}, ` +
    `"${target}", metadata={"format": "pt"})`
  return (
    `is a pickle, which is refused because loading one runs the code inside it. Convert it to safetensors once, ` +
    `in ${dirname(path)}: python -c '${line}'`
  )
}

/** What is in `folder`, with the names nearest to `wanted`, as a sentence for an error. */
export async function describeFolder(folder: string, wanted?: string): Promise<string> {
  let names: string[]
  try {
    names = (await readdir(folder)).sort()
  } catch {
    return describeMissingFolder(folder)
  }
  if (names.length === 0) return `The folder ${folder} is empty.`
  const rest = names.length > LISTED ? `, and ${names.length - LISTED} more` : ''
  const hint = wanted === undefined ? '' : didYouMean(wanted, names)
  return `The folder ${folder} holds: ${names.slice(0, LISTED).join(', ')}${rest}.${hint}`
}

async function describeMissingFolder(folder: string): Promise<string> {
  const parent = dirname(folder)
  if (parent === folder) return `There is no folder ${folder}.`
  const siblings = await readdir(parent).catch(() => [])
  return `There is no folder ${folder}.${didYouMean(basename(folder), siblings)}`
}

/** The pickles in `folder`, and indices of sharded ones; none where it cannot be listed. */
export async function findPickles(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => [])
  return names
    .filter(name => isPickle(name) && name !== 'training_args.bin')
    .sort()
    .map(name => join(folder, name))
}
