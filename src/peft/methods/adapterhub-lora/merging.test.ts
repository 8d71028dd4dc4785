/** @file Merging LoRA and its kin: the plain model computes what the adapter does, also where AdapterHub's does not. */
import { describe, expect, it } from 'vitest'
import { skippable } from '../../../../test/shared.ts'
import { compile } from '../../../models/function.ts'
import { worstDeviation } from '../../../models/testing/oracle.ts'
import type { Module } from '../../../nn/index.ts'
import type { TensorData } from '../../../runtime/index.ts'
import { openAdapter, visible } from '../../adapterhub/testing/battery.ts'
import { caseTensors, forward, type HubCase, hubCase } from '../../adapterhub/testing/cases.ts'
import '../../index.ts'

const cases = (method: string, names: string) => names.split(' ').map(name => `${method}-${name}`)

/** Where AdapterHub's merged model computes what the adapter does. */
const RIGHT = [
  ...cases('lora', 'bert gpt2 llama t5 bart vit all-gpt2 all-t5 init-bert k-only-gpt2 leave_out'),
  ...cases('vera', 'bert q-llama q-t5'),
  // Without biases and, for DoRA, with alpha = r.
  ...cases('ia3', 'llama t5'),
  'dora-alpha-r',
]

/** Where it does not: (IA)³ leaves the bias out, DoRA the bias and alpha / r. */
const WRONG = [
  ...cases('ia3', 'bert gpt2 output vit'),
  'lora-scale-mode',
  ...cases('dora', 'bert all llama vit'),
  'dvora-bert',
]

async function mergedDeviations(hub: HubCase) {
  const [inputs, out] = [caseTensors(hub, 'in.'), caseTensors(hub, 'out.')]
  const peft = await openAdapter(hub, { isTrainable: false })
  const merged = await peft.mergeAndUnload()
  const { labels: _, ...others } = inputs
  const batch = hub.golden.kind === 'seq2seq' ? inputs : others
  await using run = await compile(merged as Module, (m, symbolic) => ({ logits: forward(m, symbolic).logits! }))
  const { logits } = await run(batch)
  const deviation = (expected: TensorData) => {
    const [a, b] = [logits, expected].map(tensor => visible(tensor, inputs.attention_mask))
    return worstDeviation(a, b, hub.golden)
  }
  return { fromAdapter: deviation(out.logits), fromLibrary: deviation(out.merged_logits) }
}

describe.each([...RIGHT, ...WRONG])('%s', name => {
  const hub = hubCase(name)
  const missing = !hub && 'no copy of the oracle here'
  const isRight = RIGHT.includes(name)
  it.skipIf(missing)(
    skippable(
      isRight
        ? 'oracle: is merged as AdapterHub merges it'
        : 'oracle: is merged so that nothing changes, where AdapterHub’s merging changes the outputs',
      missing,
    ),
    async () => {
      const { fromAdapter, fromLibrary } = await mergedDeviations(hub!)
      expect(fromAdapter).toBeLessThanOrEqual(1)
      if (isRight) expect(fromLibrary).toBeLessThanOrEqual(1)
      else expect(fromLibrary).toBeGreaterThan(1)
    },
  )
})

describe('gates', () => {
  const hub = hubCase('lora-gating-bert')
  const missing = !hub && 'no copy of the oracle here'
  it.skipIf(missing)(skippable('oracle: cannot be merged', missing), async () => {
    const peft = await openAdapter(hub!, { isTrainable: false })
    await expect(peft.mergeAndUnload()).rejects.toThrow(/"a" cannot become weights: its gates depend on the input/)
  })
})
