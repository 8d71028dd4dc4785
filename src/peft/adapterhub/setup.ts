/** @file Whole setups of AdapterHub: a composition with all its adapters and fusions in one folder. Node only. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeFileAtomic } from '../../util/files.ts'
import { adaptersOf, type Composable, type Composition, fusionsOf, isComposition } from '../composition.ts'
import type { LoadAdapterOptions, PeftModel } from '../model.ts'
import { PythonFloat, pythonJson } from '../python-json.ts'
import { HUB_VERSION } from './files.ts'

/** The file that says how the adapters of a folder work together. */
export const SETUP_FILE = 'adapter_setup.json'

interface SetupNode {
  type: string
  children: (SetupNode | string)[]
  kwargs?: { splits?: number[]; batch_sizes?: number[]; weights?: number[] }
}

const TYPES: Readonly<Record<string, Composition['type']>> = {
  Stack: 'stack',
  Fuse: 'fuse',
  Split: 'split',
  BatchSplit: 'batchSplit',
  Parallel: 'parallel',
  Average: 'average',
}

/** A composition as it stands in `adapter_setup.json`. */
export function compositionToJson(composition: Composable): SetupNode {
  if (typeof composition === 'string') return { type: 'single', children: [composition] }
  const { type, children, splits, batchSizes, weights } = composition
  const [name] = Object.entries(TYPES).find(([, own]) => own === type)!
  const kwargs = {
    ...(splits && { splits: [...splits] }),
    ...(batchSizes && { batch_sizes: [...batchSizes] }),
    ...(weights && { weights: weights.map(weight => new PythonFloat(weight) as unknown as number) }),
  }
  return {
    type: name,
    children: children.map(compositionToJson),
    ...(Object.keys(kwargs).length > 0 && { kwargs }),
  }
}

/** The composition in an `adapter_setup.json`. Throws for a block that is not known. */
export function compositionFromJson(json: unknown, label: string): Composable {
  const { type, children, kwargs = {} } = (json ?? {}) as Partial<SetupNode>
  if (typeof type !== 'string' || !Array.isArray(children) || children.length === 0) {
    throw new Error(`${label}: a block of adapters has "type" and "children", got ${JSON.stringify(json)}`)
  }
  if (type === 'single') return children[0] as string
  const known = TYPES[type]
  if (!known) {
    throw new Error(`${label}: the block "${type}" is not known; known are ${Object.keys(TYPES).join(', ')} and single`)
  }
  return {
    type: known,
    children: children.map(child => compositionFromJson(child, label)),
    ...(kwargs.splits && { splits: kwargs.splits }),
    ...(kwargs.batch_sizes && { batchSizes: kwargs.batch_sizes }),
    ...(kwargs.weights && { weights: kwargs.weights }),
  }
}

/**
 * Loads the adapters and fusions of a folder that AdapterHub's `save_adapter_setup` has written, and makes their
 * composition the active one.
 *
 * @returns the composition
 */
export async function loadAdapterSetup(
  peft: PeftModel,
  folder: string,
  options: LoadAdapterOptions = {},
): Promise<Composable> {
  const label = join(folder, SETUP_FILE)
  let json: { adapter_setup?: unknown }
  try {
    json = JSON.parse(await readFile(label, 'utf8'))
  } catch (cause) {
    throw new Error(`${label} cannot be read as JSON: ${cause instanceof Error ? cause.message : cause}`, { cause })
  }
  const composition = compositionFromJson(json.adapter_setup, label)
  for (const name of [...adaptersOf(composition), ...fusionsOf(composition)]) {
    await peft.loadAdapter(join(folder, name), name, options)
  }
  peft.setAdapter(composition)
  return composition
}

/** Writes the active composition with its adapters and fusions, each into a folder of its name. */
export async function saveAdapterSetup(peft: PeftModel, folder: string): Promise<void> {
  const { composition, active } = peft.adapterState
  const setup: Composable | undefined = composition ?? (active.length === 1 ? active[0] : undefined)
  if (setup === undefined) {
    throw new Error(
      `A setup is a composition of adapters; active are ${active.join(', ') || 'none'}. Set one with setAdapter(Stack('a', 'b')).`,
    )
  }
  const names = isComposition(setup) ? [...adaptersOf(setup), ...fusionsOf(setup)] : [setup]
  await peft.savePretrained(folder, { selectedAdapters: names })
  const json = { adapter_setup: compositionToJson(setup), head_setup: null, version: HUB_VERSION }
  // AdapterHub writes the keys of this file in its own order.
  await writeFileAtomic(join(folder, SETUP_FILE), pythonJson(json))
}
