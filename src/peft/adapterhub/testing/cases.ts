/** @file The oracle's AdapterHub cases: opening them, and the names of a model's parameters in AdapterHub. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { oracleCase } from '../../../../test/shared.ts'
import { temporaryFolder } from '../../../../test/temporary.ts'
import type { ModelInputs, PreTrainedModel } from '../../../models/index.ts'
import { AUTO_CLASSES, goldenTensors } from '../../../models/testing/oracle.ts'
import type { Module, Parameter } from '../../../nn/index.ts'
import type { TensorData } from '../../../runtime/index.ts'
import { type MemoryEntry, parseSafetensors, serializeSafetensors } from '../../../weights/index.ts'
import { baseModules, unwrapped } from '../../adapted-tree.ts'
import type { PeftModel } from '../../model.ts'
import { hubHeadStateDict, hubStateDict } from '../state-dict.ts'

/** What golden.json of a case says. */
export interface HubGolden {
  base: string
  kind: string
  /** The folder of each adapter and fusion in the case's own. */
  files: Record<string, string>
  /** `library` where the tensors are as the library wrote them. */
  safetensors: 'library' | 'converted'
  atol: number
  rtol: number
  loss: number
  trainable: number
  trainable_new: number
  all: number
  trainable_names: string[]
  zero_grad: string[]
  new_not_saved: string[]
  skip_layers?: number[]
  train: { lr: number; betas: [number, number]; eps: number; weight_decay: number; steps: number; losses: number[] }
}

/** A case of the oracle. */
export interface HubCase {
  name: string
  folder: string
  golden: HubGolden
  /** The folder of the base model. */
  base: string
}

/** The case called `name`; undefined where there is no copy of it, or of its base model. */
export function hubCase(name: string): HubCase | undefined {
  const folder = oracleCase('adapterhub', name)
  if (!folder) return undefined
  const golden: HubGolden = JSON.parse(readFileSync(join(folder, 'golden.json'), 'utf8'))
  const base = oracleCase('models', golden.base)
  return base ? { name, folder, golden, base } : undefined
}

/** The tensors of golden.safetensors whose names begin with `prefix`, without it. */
export function caseTensors({ folder }: HubCase, prefix: string): Record<string, TensorData> {
  return goldenTensors(folder, prefix)
}

/**
 * The folder of an adapter; where AdapterHub forgot to save some of its tensors, a copy that has them, which lives as long
 * as the running test.
 */
export async function completeFolder(hub: HubCase, folder: string): Promise<string> {
  const path = join(hub.folder, folder)
  if (hub.golden.new_not_saved.length === 0) return path
  const { tensors } = parseSafetensors(readFileSync(join(path, 'adapter.safetensors')))
  const entries: MemoryEntry[] = [...tensors].map(([name, tensor]) => ({ name, ...tensor }))
  for (const [name, { dims, data }] of Object.entries(caseTensors(hub, 'aux.unsaved.'))) {
    entries.push({ name, dtype: 'F32', shape: dims, bytes: data as Float32Array })
  }
  return temporaryFolder({
    'adapter_config.json': readFileSync(join(path, 'adapter_config.json')),
    'adapter.safetensors': serializeSafetensors(entries),
  })
}

/** The base model of a case. */
export async function openBase({ golden, base }: HubCase): Promise<PreTrainedModel> {
  return AUTO_CLASSES[golden.kind].fromPretrained(base, { onWarning: () => {} })
}

/** What a model computes of symbolic inputs. */
export function forward(module: Module, inputs: ModelInputs): ReturnType<PreTrainedModel['forward']> {
  return (module as unknown as PreTrainedModel).forward(inputs)
}

/** All parameters of a model with adapters, by the names that they have in AdapterHub. */
export function hubParameters(peft: PeftModel): Map<string, Parameter> {
  const result = new Map<string, Parameter>()
  for (const { path, module } of baseModules(peft.model)) {
    for (const [name, parameter] of unwrapped(module).ownParameters()) {
      if (!parameter.isBuffer) result.set(path ? `${path}.${name}` : name, parameter)
    }
  }
  for (const adapter of peft.adapterNames()) {
    for (const entry of [...hubStateDict(peft, adapter), ...hubHeadStateDict(peft, adapter)]) result.set(...entry)
  }
  return result
}
