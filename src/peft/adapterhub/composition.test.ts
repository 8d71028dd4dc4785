/** @file Compositions on models: rows compute what their adapters compute alone, and what cannot be put together says so. */
import { describe, expect, it } from 'vitest'
import type { Tensor } from '../../graph/index.ts'
import type { Module } from '../../nn/index.ts'
import { type TensorData, tensorData } from '../../runtime/index.ts'
import { AdamW, valueAndGrad } from '../../training/index.ts'
import {
  AdapterFusionConfig,
  AdapterHubDoraConfig,
  AdapterHubFlatPrefixConfig,
  AdapterHubIA3Config,
  AdapterHubLoraConfig,
  AdapterHubPrefixConfig,
  type AnyPeftConfig,
  Average,
  addAdapterFusion,
  BatchSplit,
  CompacterConfig,
  Fuse,
  MAMConfig,
  Parallel,
  PeftModel,
  SeqBnConfig,
  Split,
  Stack,
} from '../index.ts'
import { FusionLayer } from '../methods/adapter-fusion/index.ts'
import { difference, outputs, tiny } from '../prompt-learning/testing/tiny.ts'
import { perturb } from '../testing/life.ts'

const ids = tensorData('int64', [
  [5, 9, 2, 7],
  [1, 2, 3, 4],
  [30, 8, 8, 1],
])
const attention_mask = tensorData('int64', [
  [1, 1, 1, 0],
  [1, 1, 1, 1],
  [1, 1, 0, 0],
])

/** A model with adapters `a`, `b`, … of these configurations, all with values of their own. */
function adapted(model: Module, ...configs: AnyPeftConfig[]): PeftModel {
  const peft = new PeftModel(model)
  for (const [i, config] of configs.entries()) {
    const name = 'abc'[i]
    peft.addAdapter(name, config, { seed: i })
    perturb(peft, name, i + 1)
  }
  return peft as PeftModel
}

type Batch = Readonly<Record<string, TensorData>>

async function logits(peft: PeftModel, batch: Batch, active: Parameters<PeftModel['setAdapter']>[0]) {
  peft.setAdapter(active)
  return (await outputs(peft, batch, 'logits')).logits
}

/** Some rows of a tensor, as a tensor. */
function rowsOf({ dims, data }: TensorData, start: number, end: number): TensorData {
  const size = data.length / dims[0]
  return {
    dtype: 'float32',
    dims: [end - start, ...dims.slice(1)],
    data: (data as Float32Array).slice(start * size, end * size),
  }
}

const prefix = (prefixLength: number, options = {}) =>
  new AdapterHubPrefixConfig({ prefixLength, bottleneckSize: 8, ...options })

describe('rows of a batch split, and of parallel adapters', () => {
  const encoder = () => tiny('seqcls', 'bert')
  const t5 = () => tiny('seq2seq', 't5')
  const llama = () => tiny('causal', 'llama')
  const text: Batch = { input_ids: ids }
  const padded: Batch = { input_ids: ids, attention_mask }
  const pairs: Batch = { ...padded, decoder_input_ids: ids }
  it.each<[string, () => Module, Batch, AnyPeftConfig, AnyPeftConfig]>([
    ['prefixes of one length', encoder, padded, prefix(3), prefix(3, { useGating: true })],
    ['prefixes of two lengths', encoder, padded, prefix(2), prefix(5)],
    [
      'prefixes of two lengths without a mask',
      encoder,
      text,
      prefix(4),
      new AdapterHubFlatPrefixConfig({ prefixLength: 1 }),
    ],
    ['prefixes of two lengths in a decoder', llama, text, prefix(1), prefix(3)],
    ['prefixes of one length before relative distances', t5, pairs, prefix(3), prefix(3)],
    ['LoRA of two ranks', encoder, padded, new AdapterHubLoraConfig({ r: 2 }), new AdapterHubLoraConfig({ r: 5 })],
    [
      'LoRA beside (IA)³',
      encoder,
      padded,
      new AdapterHubLoraConfig({ attnMatrices: ['k', 'v'], intermediateLora: true }),
      new AdapterHubIA3Config(),
    ],
    ['(IA)³ with a gate', encoder, padded, new AdapterHubIA3Config(), new AdapterHubIA3Config({ useGating: true })],
    ['DoRA', encoder, padded, new AdapterHubDoraConfig(), new AdapterHubDoraConfig()],
    [
      'unions',
      encoder,
      padded,
      new MAMConfig({ prefixTuning: prefix(2), adapter: new SeqBnConfig({ reductionFactor: 4 }) }),
      new MAMConfig({ prefixTuning: prefix(3), adapter: new SeqBnConfig({ reductionFactor: 2 }) }),
    ],
  ])('compute what each computes alone: %s', async (_, create, batch, a, b) => {
    const peft = adapted(create(), a, b)
    const [first, second] = [await logits(peft, batch, 'a'), await logits(peft, batch, 'b')]
    expect(difference(first, second)).toBeGreaterThan(1e-3)
    const split = await logits(peft, batch, BatchSplit(['a', 'b'], [2, 1]))
    expect(difference(rowsOf(split, 0, 2), rowsOf(first, 0, 2))).toBeLessThan(2e-5)
    expect(difference(rowsOf(split, 2, 3), rowsOf(second, 2, 3))).toBeLessThan(2e-5)
    const both = await logits(peft, batch, Parallel('b', 'a'))
    expect(difference(rowsOf(both, 0, 3), second)).toBeLessThan(2e-5)
    expect(difference(rowsOf(both, 3, 6), first)).toBeLessThan(2e-5)
  })

  it('have prefixes of one length where distances count them', async () => {
    const peft = adapted(t5(), prefix(2), prefix(3))
    await expect(logits(peft, pairs, BatchSplit(['a', 'b'], [2, 1]))).rejects.toThrow(
      /T5 counts distances from the front of a prefix.* give them one prefixLength/,
    )
    // Rows that name their adapters can have any.
    const [first, second] = [await logits(peft, pairs, 'a'), await logits(peft, pairs, 'b')]
    const { logits: mixed } = await outputs(
      peft,
      { ...pairs, adapter_indices: peft.adapterIndices(['a', 'b', 'b']) },
      'logits',
    )
    expect(difference(rowsOf(mixed, 0, 1), rowsOf(first, 0, 1))).toBeLessThan(2e-5)
    expect(difference(rowsOf(mixed, 1, 3), rowsOf(second, 1, 3))).toBeLessThan(2e-5)
  })

  it('compute what stacks within and around them compute alone', async () => {
    const peft = adapted(encoder(), prefix(2), prefix(3), prefix(1))
    const expected = [await logits(peft, padded, Stack('a', 'c')), await logits(peft, padded, Stack('b', 'a', 'c'))]
    const split = await logits(peft, padded, Stack(BatchSplit(['a', Stack('b', 'a')], [1, 2]), 'c'))
    expect(difference(rowsOf(split, 0, 1), rowsOf(expected[0], 0, 1))).toBeLessThan(2e-5)
    expect(difference(rowsOf(split, 1, 3), rowsOf(expected[1], 1, 3))).toBeLessThan(2e-5)
  })
})

describe('a stack', () => {
  const batch: Batch = { input_ids: ids, attention_mask }

  it('of adapters of several methods is one after another in each layer that has them', async () => {
    const model = tiny('seqcls', 'bert')
    const peft = adapted(model, prefix(2), new AdapterHubLoraConfig({ r: 2 }), new SeqBnConfig({ reductionFactor: 4 }))
    const stacked = await logits(peft, batch, Stack('a', 'b', 'c'))
    expect(difference(stacked, await logits(peft, batch, ['a', 'b', 'c']))).toBeLessThan(2e-5)
    expect(difference(stacked, await logits(peft, batch, Stack('c', 'a')))).toBeGreaterThan(1e-3)
  })

  it('of LoRA is refused where an update has another width than inputs, and next to (IA)³', async () => {
    const wide = new AdapterHubLoraConfig({ selfattnLora: false, intermediateLora: true })
    const peft = adapted(tiny('seqcls', 'bert'), wide, wide)
    await expect(logits(peft, batch, Stack('a', 'b'))).rejects.toThrow(
      /^stack: "b" reads the update of the adapter before it, and a layer of 24 inputs and 32 outputs/,
    )
    const additive = new AdapterHubLoraConfig({ attnMatrices: ['k', 'v'], intermediateLora: true })
    const mixed = adapted(tiny('seqcls', 'bert'), additive, new AdapterHubIA3Config())
    await expect(logits(mixed, batch, Stack('a', 'b'))).rejects.toThrow(
      /^stack: "b" \(compositionMode "scale"\) cannot read/,
    )
    const joined = Stack(BatchSplit(['a', 'b'], [1, 2]), 'a')
    await expect(logits(mixed, batch, joined)).rejects.toThrow(/^stack: "a" \(compositionMode "add"\) cannot read/)
    await expect(logits(mixed, batch, Average(['a', 'b']))).rejects.toThrow(/^average: .* there is no mean/)
  })
})

describe('blocks that AdapterHub refuses', () => {
  const batch: Batch = { input_ids: ids }

  it('are refused by name', async () => {
    const lora = adapted(tiny('seqcls', 'bert'), new AdapterHubLoraConfig(), new AdapterHubLoraConfig())
    await expect(logits(lora, batch, Split(['a', 'b'], [1, 3]))).rejects.toThrow(
      'split: ADAPTERHUB_LORA adapters cannot be put together so; they have stack, batchSplit, parallel, average',
    )
    const prefixes = adapted(tiny('seqcls', 'bert'), prefix(2), prefix(2))
    for (const block of [Split(['a', 'b'], [1, 3]), Average(['a', 'b'])]) {
      await expect(logits(prefixes, batch, block)).rejects.toThrow(
        `${block.type}: ADAPTERHUB_PREFIX adapters cannot be put together so; they have stack, batchSplit, parallel`,
      )
    }
    expect(() => addAdapterFusion(lora, ['a', 'b'])).toThrow('no layer has bottleneck adapters called a and b')
    expect(() => lora.setAdapter(Fuse('a', 'b'))).toThrow('There is no adapter "a,b"')
  })
})

describe('a fusion with a temperature', () => {
  it('cools with each training step, and not in evaluation', async () => {
    const peft = adapted(tiny('seqcls', 'bert'), new SeqBnConfig(), new SeqBnConfig())
    addAdapterFusion(peft, ['a', 'b'], new AdapterFusionConfig({ temperature: true }))
    peft.setAdapter(Fuse('a', 'b'))
    const layers = [...peft.model.namedModules()].flatMap(([, layer]) => (layer instanceof FusionLayer ? [layer] : []))
    const temperatures = () => layers.map(({ temperature }) => temperature!.data[0])
    await outputs(peft, { input_ids: ids }, 'logits')
    expect(temperatures()).toEqual([50, 50])
    await using step = await valueAndGrad(peft as Module, (_, inputs) => peft.forward(inputs).loss as Tensor)
    const trained = [...peft.namedParameters()].filter(([, { requiresGrad }]) => requiresGrad)
    const optimizer = new AdamW(trained, { lr: 1e-3 })
    for (let i = 0; i < 3; i++) {
      optimizer.step((await step({ input_ids: ids, labels: tensorData('int64', [0, 1, 2]) })).grads)
    }
    for (const temperature of temperatures()) expect(temperature).toBeCloseTo(49.85, 4)
  })
})

describe('an adapter that is called as a parameter of another', () => {
  it('leaves the other’s file complete', () => {
    const compacter = new CompacterConfig({ reductionFactor: 2, phmDim: 2 })
    const peft = new PeftModel(tiny('seqcls', 'bert'))
    peft.addAdapter('a', compacter)
    const alone = [...peft.stateDict('a').keys()]
    expect(alone.some(key => key.endsWith('.b'))).toBe(true)
    peft.addAdapter('b', compacter)
    expect([...peft.stateDict('a').keys()]).toEqual(alone)
    expect([...peft.stateDict('b').keys()]).toEqual(alone)
  })
})
