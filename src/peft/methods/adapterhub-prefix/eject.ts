/** @file Prefixes without the network that made them. */
import { Graph, type Tensor } from '../../../graph/index.ts'
import { defaultEngine, floats } from '../../../runtime/index.ts'
import type { PeftModel } from '../../model.ts'
import { PREFIX_TUNINGS } from './layer.ts'
import { PrefixPool } from './pool.ts'

/**
 * Puts the keys and values that an adapter's networks compute now in the place of these networks: the adapter computes
 * the same, is smaller, and trains its keys and values as they are. What is flat already stays so.
 *
 * @throws for an adapter without prefixes
 */
export async function ejectPrefixTuning(model: PeftModel, adapterName = 'default'): Promise<void> {
  const { config, shared } = model.adapter(adapterName)
  const pool = shared[PREFIX_TUNINGS]
  if (!(pool instanceof PrefixPool)) {
    throw new Error(`ejectPrefixTuning: "${adapterName}" is of type ${config.peftType} and has no prefixes to eject`)
  }
  for (const parameter of pool.parameters()) await parameter.load()
  const graph = new Graph()
  const prefixes = pool.prefixes().filter(([, { wte }]) => wte)
  const tables: Record<string, Tensor> = graph.trace(() =>
    Object.fromEntries(prefixes.map(([name, group]) => [name, group.table()])),
  )
  if (prefixes.length === 0) return
  const engine = await defaultEngine()
  await using executable = await engine.compile(tables, { mode: 'small' })
  const values = await executable.run({})
  for (const [name, group] of prefixes) {
    group.become(true)
    group.config.flat = true
    group.flat.data = floats(values[name]).slice()
  }
  model.refreshTrained(adapterName)
}
