/** @file Averages of adapters against AdapterHub's `average_adapter`: values, outputs, training, options in files. */
import '../index.ts'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { skippable } from '../../../test/shared.ts'
import { temporaryFolder } from '../../../test/temporary.ts'
import { worstDeviation } from '../../models/testing/oracle.ts'
import { floats } from '../../runtime/index.ts'
import { type Matrix, matrix, product } from '../../util/linear-algebra/index.ts'
import { PeftModel } from '../model.ts'
import type { AverageType, WeightedOptions } from '../weighted.ts'
import { hubStateDict } from './state-dict.ts'
import { checkOutputs, computed, describeHubCases, type HubCaseOptions, tensorsIn } from './testing/battery.ts'
import { caseTensors, type HubCase, hubCase, openBase } from './testing/cases.ts'

/** What `average_adapter` was called with. */
interface AverageCall {
  adapters: string[]
  weights: number[]
  normalize_weights?: boolean
  combine_strategy?: AverageType
  svd_rank?: number
}

const callOf = ({ golden }: HubCase) => (golden as unknown as { average_adapter: AverageCall }).average_adapter

/** The adapters of a case and their average, which is the active one. */
async function openAverage(hub: HubCase, { isTrainable }: { isTrainable: boolean }): Promise<PeftModel> {
  const peft = new PeftModel(await openBase(hub))
  const { adapters, weights, ...call } = callOf(hub)
  for (const name of adapters) await peft.loadAdapter(join(hub.folder, hub.golden.files[name]), name, { isTrainable })
  const options: WeightedOptions = {
    ...(call.normalize_weights !== undefined && { normalizeWeights: call.normalize_weights }),
    ...(call.combine_strategy && { combinationType: call.combine_strategy }),
    ...(call.svd_rank !== undefined && { svdRank: call.svd_rank }),
  }
  await peft.addWeightedAdapter(adapters, weights, 'avg', options)
  peft.setAdapter('avg')
  return peft as PeftModel
}

const CASES = 'seq_bn compacter prefix unipelt lora lora-negate_b ia3 vera'.split(' ').map(name => `avg-${name}`)
const special: HubCaseOptions = { open: openAverage, files: false }

describeHubCases(CASES, Object.fromEntries(CASES.map(name => [name, special])))

/** The values of the average under AdapterHub's names. */
async function valuesOf(peft: PeftModel): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>()
  for (const [name, parameter] of hubStateDict(peft, 'avg')) values.set(name, await parameter.read())
  return values
}

const flat = (data: Float32Array) => ({ dtype: 'float32' as const, dims: [data.length], data })

describe.each(CASES)('%s', name => {
  const hub = hubCase(name)
  const missing = !hub && 'no copy of the oracle here'
  it.skipIf(missing)(skippable('oracle: has the values and the options that AdapterHub saved', missing), async () => {
    const peft = await openAverage(hub!, { isTrainable: false })
    const own = await valuesOf(peft)
    const theirs = await tensorsIn(join(hub!.folder, 'adapter.safetensors'))
    for (const [key, values] of theirs) {
      const got = own.get(key) ?? own.get(inParameters(hub!, key))
      expect(worstDeviation(flat(got!), flat(values), hub!.golden), key).toBeLessThanOrEqual(1)
    }
    const folder = await temporaryFolder()
    await peft.savePretrained(folder, { selectedAdapters: ['avg'] })
    const text = (path: string) => readFileSync(join(path, 'adapter_config.json'), 'utf8')
    expect(text(join(folder, 'avg'))).toBe(text(hub!.folder))
  })
})

/** The name of a parameter that AdapterHub also saves under others. */
function inParameters({ golden }: HubCase, key: string): string {
  return (golden as unknown as { saved_to_parameter: Record<string, string> }).saved_to_parameter[key]
}

/** What the average adds to each weight before the scale, by the path of the layer. */
function updates(values: ReadonlyMap<string, Float32Array>, r: number): Map<string, Matrix> {
  const found = new Map<string, Matrix>()
  for (const [key, a] of values) {
    if (!key.endsWith('.lora_A')) continue
    const b = values.get(key.replace(/A$/, 'B'))!
    found.set(key, product(matrix(b.length / r, r, b), matrix(r, a.length / r, a)))
  }
  return found
}

describe.each([
  ['avg-lora-svd-same-rank', 4],
  ['avg-lora-svd', 2],
] as const)('%s', (name, rank) => {
  const hub = hubCase(name)
  const missing = !hub && 'no copy of the oracle here'
  it.skipIf(missing)(skippable('oracle: has AdapterHub’s B A, whatever their signs', missing), async () => {
    const peft = await openAverage(hub!, { isTrainable: false })
    const own = updates(await valuesOf(peft), rank)
    const theirs = updates(await tensorsIn(join(hub!.folder, 'adapter.safetensors')), rank)
    expect([...own.keys()].sort()).toEqual([...theirs.keys()].sort())
    for (const [key, { data }] of theirs) {
      expect(worstDeviation(flat(own.get(key)!.data), flat(data), hub!.golden), key).toBeLessThanOrEqual(1)
    }
  })
  it.skipIf(missing)(
    skippable(
      'oracle: gives AdapterHub’s outputs, once with its scale: it leaves alpha as it was and so changes alpha / r with r',
      missing,
    ),
    async () => {
      const peft = await openAverage(hub!, { isTrainable: false })
      const [first] = callOf(hub!).adapters.map(adapter => peft.configOf(adapter) as unknown as Record<string, number>)
      const config = peft.configOf('avg') as unknown as Record<string, number>
      expect(config.r).toBe(rank)
      expect(config.alpha / config.r).toBe(first.alpha / first.r)
      for (const [key, parameter] of hubStateDict(peft, 'avg')) {
        if (key.endsWith('.lora_B')) parameter.data = parameter.data.map(value => (value * first.r) / rank)
      }
      await checkOutputs(hub!, peft)
    },
  )
})

describe('avg-seq_bn_inv', () => {
  const hub = hubCase('avg-seq_bn_inv')
  const missing = !hub && 'no copy of the oracle here'
  it.skipIf(missing)(
    skippable('oracle: averages the invertible adapter too, which AdapterHub leaves out', missing),
    async () => {
      const peft = await openAverage(hub!, { isTrainable: false })
      const own = await valuesOf(peft)
      for (const [key, values] of await tensorsIn(join(hub!.folder, 'adapter.safetensors'))) {
        expect(worstDeviation(flat(own.get(key)!), flat(values), hub!.golden), key).toBeLessThanOrEqual(1)
      }
      const parts = [...own].filter(([key]) => key.includes('invertible_adapters'))
      expect(parts.length).toBeGreaterThan(0)
      const [a, b] = ['a', 'b'].map(name => hubStateDict(peft, name, 'avg'))
      for (const [key, values] of parts) {
        const mean = a.get(key)!.data.map((value, i) => 0.25 * value + 0.75 * b.get(key)!.data[i])
        expect(worstDeviation(flat(values), flat(mean), hub!.golden), key).toBeLessThanOrEqual(1)
      }
    },
  )
  it.skipIf(missing)(
    skippable('oracle: gives AdapterHub’s outputs without its invertible adapter', missing),
    async () => {
      const peft = await openAverage(hub!, { isTrainable: false })
      const { logits } = await computed(peft as PeftModel, caseTensors(hub!, 'in.'))
      const { logits: expected } = caseTensors(hub!, 'out.')
      expect(worstDeviation(flat(floats(logits)), flat(floats(expected)), hub!.golden)).toBeGreaterThan(1)
      const own = await valuesOf(peft)
      peft.addAdapter('plain', peft.configOf('avg').with({ invAdapter: null, invAdapterReductionFactor: null }))
      for (const [key, parameter] of hubStateDict(peft, 'plain', 'avg')) parameter.data = own.get(key)!.slice()
      peft.setAdapter('plain')
      await checkOutputs(hub!, peft)
    },
  )
})
