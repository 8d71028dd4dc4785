/** @file AdapterHub's compositions of adapters: computed, trained and read as the library does. */
import '../index.ts'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { skippable } from '../../../test/shared.ts'
import { temporaryFolder } from '../../../test/temporary.ts'
import { FusionLayer } from '../methods/adapter-fusion/index.ts'
import { PeftModel } from '../model.ts'
import { loadAdapterSetup, saveAdapterSetup } from './setup.ts'
import { describeHubCases, type HubCaseOptions } from './testing/battery.ts'
import { type HubCase, hubCase, openBase } from './testing/cases.ts'

/** The whole setup of a case; only what the case trains can be trained. */
async function openSetup(hub: HubCase, { isTrainable }: { isTrainable: boolean }): Promise<PeftModel> {
  const peft = new PeftModel(await openBase(hub))
  await loadAdapterSetup(peft, hub.folder, { isTrainable, onWarning: () => {}, withHead: false })
  return peft as PeftModel
}

/** A fusion trains while the adapters that it mixes stay. */
async function openFusion(hub: HubCase, options: { isTrainable: boolean }): Promise<PeftModel> {
  const peft = await openSetup(hub, options)
  for (const name of peft.adapterNames()) if (!name.includes(',')) peft.setRequiresGrad(name, false)
  return peft
}

/**
 * AdapterHub lowers the temperature of a fusion at every forward, in evaluation too, here only training steps do; the
 * first training step of the case comes after one forward.
 */
async function openCooling(hub: HubCase, options: { isTrainable: boolean }): Promise<PeftModel> {
  const peft = await openFusion(hub, options)
  if (!options.isTrainable) return peft
  for (const [, module] of peft.model.namedModules()) if (module instanceof FusionLayer) module.cool()
  return peft
}

const setups = (names: string, open = openSetup): [string, HubCaseOptions][] =>
  names.split(' ').map(name => [name, { open, files: false }])

const CASES = Object.fromEntries([
  ...setups('stack stack-double stack-gpt2 stack-t5 stack-par stack-madx stack-parallel'),
  ...setups('split split-nested split-llama'),
  ...setups('batchsplit batchsplit-nested batchsplit-t5'),
  ...setups('parallel parallel-gpt2 parallel-stack'),
  ...setups('average average-weights average-par average-unnormalized'),
  ...setups('stack-lora stack-ia3 stack-prefix stack-mixed'),
  ...setups('average-lora average-ia3 batchsplit-lora batchsplit-prefix parallel-lora parallel-prefix'),
  ...setups('fuse-static fuse-dynamic fuse-double fuse-gating fuse-gpt2 fuse-par fuse-query-before-ln', openFusion),
  ...setups('fuse-residual-before fuse-t5 fuse-value-after fuse-of-stack stack-fuse', openFusion),
  ...setups('fuse-unfrozen'),
  ...setups('fuse-temperature', openCooling),
])

describeHubCases(Object.keys(CASES), CASES)

const SAVED = ['stack-fuse', 'average-weights', 'batchsplit', 'split', 'parallel-stack', 'stack-mixed']

describe.each(SAVED)('the setup of %s', name => {
  const hub = hubCase(name)
  const missing = !hub && 'no copy of the oracle here'
  it.skipIf(missing)(skippable('oracle: is written as AdapterHub wrote it', missing), async () => {
    const peft = await openSetup(hub!, { isTrainable: false })
    const folder = await temporaryFolder()
    await saveAdapterSetup(peft, folder)
    const json = (path: string) => JSON.parse(readFileSync(path, 'utf8'))
    expect(json(join(folder, 'adapter_setup.json'))).toEqual(json(join(hub!.folder, 'adapter_setup.json')))
    for (const part of Object.values(hub!.golden.files)) {
      const file = part.includes(',') ? 'adapter_fusion_config.json' : 'adapter_config.json'
      expect(readFileSync(join(folder, part, file), 'utf8')).toBe(readFileSync(join(hub!.folder, part, file), 'utf8'))
      const weights = part.includes(',') ? 'model_adapter_fusion.safetensors' : 'adapter.safetensors'
      const same = readFileSync(join(folder, part, weights)).equals(readFileSync(join(hub!.folder, part, weights)))
      expect(same, join(part, weights)).toBe(true)
    }
  })
})
