/** @file Prefixes of keys and values in encoder-decoders: they reach the attention of every role, as in AdapterHub. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { oracleCase, skippable } from '../../test/shared.ts'
import { expand, Graph, reshape, slice, type Tensor, transpose } from '../graph/index.ts'
import { Engine, NodeBackend } from '../runtime/index.ts'
import { parseSafetensors, toFloat32 } from '../weights/index.ts'
import { type AttentionContext, AttentionModule, type AttentionRole, AutoModelForSeq2SeqLM } from './index.ts'
import { goldenTensors, readGolden, worstDeviation } from './testing/oracle.ts'

const engine = new Engine(new NodeBackend())
afterAll(() => engine.dispose())

const GROUPS: Record<AttentionRole, string> = { encoder: 'encoder', decoder: 'self', cross: 'cross' }

/** An attention layer behind a prefix, in its place. */
class Prefixed extends AttentionModule {
  readonly inner: AttentionModule
  readonly values: Float32Array
  /** Which of the layers of its role it is. */
  readonly index: number

  constructor(inner: AttentionModule, values: Float32Array, index: number) {
    super(inner)
    this.inner = inner
    this.values = values
    this.index = index
  }

  override forward(hidden: Tensor, context: AttentionContext): Tensor {
    const { numKeyValueHeads: heads, headWidth: width } = this
    const shape = [-1, 2 * 2, heads, width]
    const all = reshape(hidden.graph.constant([...this.values], 'float32', [this.values.length]), shape)
    const part = (i: number) => {
      const rows = transpose(slice(all, 1, i, i + 1), [1, 2, 0, 3])
      return expand(rows, [hidden.shape[0], heads, rows.shape[2], width])
    }
    const prefixes = [{ key: part(2 * this.index), value: part(2 * this.index + 1) }]
    return this.inner.forward(hidden, { ...context, prefixes })
  }
}

const folder = oracleCase('adapterhub', 'prefix_tuning_flat-t5')
const base = oracleCase('models', 't5-seq2seq')
const missing = !(folder && base) && 'no copy of the oracle here'

describe.skipIf(missing)(skippable('oracle: prefixes', missing), () => {
  it('oracle: shift the distances of T5, and are seen by every query of the encoder, the decoder and between them', async () => {
    const { tensors } = parseSafetensors(readFileSync(join(folder!, 'adapter.safetensors')))
    const model = await AutoModelForSeq2SeqLM.fromPretrained(base!)
    const counts: Record<AttentionRole, number> = { encoder: 0, decoder: 0, cross: 0 }
    for (const [path, module] of [...model.namedModules()]) {
      if (!(module instanceof AttentionModule)) continue
      const [, saved] = [...tensors].find(([name]) => name.includes(`.${GROUPS[module.role]}_prefix.`))!
      model.setSubmodule(path, new Prefixed(module, toFloat32(saved.dtype, saved.bytes), counts[module.role]++))
    }
    expect(counts).toEqual({ encoder: 2, decoder: 2, cross: 2 })

    const graph = new Graph()
    const specs = model.inputSpecs()
    const feeds = goldenTensors(folder!, 'in.')
    const input = (name: string) => graph.input(name, 'int64', specs[name].shape)
    const { logits } = model.forward({
      input_ids: input('input_ids'),
      attention_mask: input('attention_mask'),
      labels: input('labels'),
    })
    await using executable = await engine.compile({ logits: logits! }, { mode: 'small' })
    const results = await executable.run(feeds)
    const golden = readGolden(folder!)
    expect(worstDeviation(results.logits, goldenTensors(folder!, 'out.').logits, golden)).toBeLessThan(1)
    expect(worstDeviation(results.logits, goldenTensors(folder!, 'out.').base_logits, golden)).toBeGreaterThan(1)
  })
})
