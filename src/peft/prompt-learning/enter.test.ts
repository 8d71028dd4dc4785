/** @file Virtual tokens that are tokens of the model compute what a text with these tokens in front computes. */
import { describe, expect, it } from 'vitest'
import type { PreTrainedModel } from '../../models/index.ts'
import type { Embedding } from '../../nn/index.ts'
import { floats, type TensorData, tensorData } from '../../runtime/index.ts'
import { getPeftModel, PrefixTuningConfig, PromptTuningConfig } from '../index.ts'
import { columns, difference, outputs, tiny } from './testing/tiny.ts'

const FRONT = [7, 21, 3]
const N = FRONT.length
const TOKENS = [
  [5, 9, 2, 30, 31],
  [11, 12, 13, 0, 0],
]
const MASK = [
  [1, 1, 1, 1, 1],
  [1, 1, 1, 0, 0],
]
const int64 = (rows: number[] | number[][]) => tensorData('int64', rows)
const front = (rows: number[][], values: readonly number[]) => rows.map(row => [...values, ...row])
const same = (value: number) => Array<number>(N).fill(value)

/** The model behind a prompt of tokens, and the batch with the same tokens in the text. */
async function pair(model: PreTrainedModel, inputs: Record<string, TensorData> = {}) {
  const peft = getPeftModel(model, new PromptTuningConfig({ numVirtualTokens: N }))
  const table = await (model.getInputEmbeddings() as Embedding).weight.read()
  const width = model.config.hidden_size
  const rows = FRONT.flatMap(token => [...table.subarray(token * width, (token + 1) * width)])
  peft.stateDict().get('prompt_embeddings')!.data = Float32Array.from(rows)
  const short = { input_ids: int64(TOKENS), attention_mask: int64(MASK), ...inputs }
  const long = { input_ids: int64(front(TOKENS, FRONT)), attention_mask: int64(front(MASK, same(1))) }
  return { peft, short, long }
}

const LABELS = [
  [5, 9, 2, 30, 31],
  [11, 12, 13, -100, -100],
]
const CLASSES = [
  [0, 1, 2, 0, 1],
  [2, 2, 1, -100, -100],
]

describe('virtual tokens in front of a text', () => {
  it.each(['llama', 'gpt2'])('have no label in a decoder such as %s, whose logits include theirs', async type => {
    const model = tiny('causal', type)
    const { peft, short, long } = await pair(model)
    const got = await outputs(peft, { ...short, labels: int64(LABELS) }, 'logits', 'loss')
    const expected = await outputs(model, { ...long, labels: int64(front(LABELS, same(-100))) }, 'logits', 'loss')
    expect(difference(got.logits, expected.logits)).toBeLessThan(1e-5)
    expect(difference(got.loss, expected.loss)).toBeLessThan(1e-5)
  })

  it.each(['llama', 'gpt2'])('take the positions before those that were given to %s', async type => {
    const model = tiny('causal', type)
    const { peft, short, long } = await pair(model, {
      position_ids: int64([
        [0, 1, 2, 3, 4],
        [4, 5, 6, 7, 8],
      ]),
    })
    const positions = [Array.from({ length: 8 }, (_, i) => i), Array.from({ length: 8 }, (_, i) => i + 4)]
    const got = await outputs(peft, short, 'logits')
    const expected = await outputs(model, { ...long, position_ids: int64(positions) }, 'logits')
    expect(difference(got.logits, expected.logits)).toBeLessThan(1e-5)
  })

  it.each(['bert', 'roberta'])(
    'have the first segment and the first positions in a classifier such as %s',
    async type => {
      const model = tiny('seqcls', type, { pad_token_id: 0, type_vocab_size: 2 })
      const segments = [
        [0, 0, 1, 1, 1],
        [0, 1, 1, 0, 0],
      ]
      const { peft, short, long } = await pair(model, { token_type_ids: int64(segments) })
      const got = await outputs(peft, { ...short, labels: int64([2, 0]) }, 'logits', 'loss')
      const batch = { ...long, token_type_ids: int64(front(segments, same(0))), labels: int64([2, 0]) }
      const expected = await outputs(model, batch, 'logits', 'loss')
      expect(difference(got.logits, expected.logits)).toBeLessThan(1e-5)
      expect(difference(got.loss, expected.loss)).toBeLessThan(1e-5)
    },
  )

  it('leave a decoder’s classifier at the last token that is not padding, where PEFT takes the padding', async () => {
    const model = tiny('seqcls', 'llama', { pad_token_id: 0 })
    const { peft, short, long } = await pair(model)
    const got = await outputs(peft, short, 'logits')
    expect(difference(got.logits, (await outputs(model, long, 'logits')).logits)).toBeLessThan(1e-5)
    const cut = { input_ids: int64([[11, 12, 13]]), attention_mask: int64([[1, 1, 1]]) }
    const alone = await outputs(peft, cut, 'logits')
    const second = { ...got.logits, dims: [1, 3], data: floats(got.logits).slice(3) }
    expect(difference(second, alone.logits)).toBeLessThan(1e-5)
  })

  it('are left out of the scores of single tokens, where PEFT cannot compute the loss', async () => {
    const model = tiny('tokcls', 'bert')
    const { peft, short, long } = await pair(model)
    const got = await outputs(peft, { ...short, labels: int64(CLASSES) }, 'logits', 'loss')
    const expected = await outputs(model, { ...long, labels: int64(front(CLASSES, same(-100))) }, 'logits', 'loss')
    expect(difference(got.logits, columns(expected.logits, N))).toBeLessThan(1e-5)
    expect(difference(got.loss, expected.loss)).toBeLessThan(1e-5)
  })

  it('are left out of the scores of masked tokens', async () => {
    const model = tiny('mlm', 'bert')
    const { peft, short, long } = await pair(model)
    const got = await outputs(peft, { ...short, labels: int64(LABELS) }, 'logits', 'loss')
    const expected = await outputs(model, { ...long, labels: int64(front(LABELS, same(-100))) }, 'logits', 'loss')
    expect(difference(got.logits, columns(expected.logits, N))).toBeLessThan(1e-5)
    expect(difference(got.loss, expected.loss)).toBeLessThan(1e-5)
  })

  it('move answers in a text, whose positions PEFT leaves where they were', async () => {
    const model = tiny('qa', 'bert')
    const { peft, short, long } = await pair(model)
    const spans = { start_positions: int64([1, -1]), end_positions: int64([3, 2]) }
    const moved = { start_positions: int64([1 + N, N]), end_positions: int64([3 + N, 2 + N]) }
    const got = await outputs(peft, { ...short, ...spans }, 'start_logits', 'end_logits', 'loss')
    const expected = await outputs(model, { ...long, ...moved }, 'start_logits', 'end_logits', 'loss')
    for (const name of ['start_logits', 'end_logits'] as const) {
      expect(difference(got[name], columns(expected[name], N))).toBeLessThan(1e-5)
    }
    expect(difference(got.loss, expected.loss)).toBeLessThan(1e-5)
  })

  it('are part of the features, as in PEFT, which takes no segments there', async () => {
    const model = tiny('enc', 'bert', { type_vocab_size: 2 })
    const segments = { token_type_ids: int64(TOKENS.map(row => row.map(() => 1))) }
    const { peft, short, long } = await pair(model, segments)
    const got = await outputs(peft, short, 'last_hidden_state')
    expect(
      difference(got.last_hidden_state, (await outputs(model, long, 'last_hidden_state')).last_hidden_state),
    ).toBeLessThan(1e-5)
  })

  it('stand in front of embeddings that were given, and of nothing else', async () => {
    const model = tiny('causal', 'llama')
    const { peft, short } = await pair(model)
    const table = await (model.getInputEmbeddings() as Embedding).weight.read()
    const { hidden_size: width } = model.config
    const embedded = Float32Array.from(
      TOKENS.flat().flatMap(token => [...table.subarray(token * width, (token + 1) * width)]),
    )
    const { input_ids: _, ...others } = short
    const batch = { ...others, inputs_embeds: tensorData('float32', embedded, [2, 5, width]) }
    const [a, b] = [await outputs(peft, batch, 'logits'), await outputs(peft, short, 'logits')]
    expect(difference(a.logits, b.logits)).toBeLessThan(1e-6)
    await expect(outputs(peft, others, 'logits')).rejects.toThrow(/neither input_ids nor inputs_embeds/)
  })
})

describe('prefixes in front of a text', () => {
  it('take the first positions: with given positions the same as without', async () => {
    for (const type of ['llama', 'gpt2']) {
      const peft = getPeftModel(tiny('causal', type), new PrefixTuningConfig({ numVirtualTokens: 3 }))
      const batch = { input_ids: int64(TOKENS), attention_mask: int64(MASK) }
      const given = { ...batch, position_ids: int64(TOKENS.map(row => row.map((_, i) => i))) }
      const [a, b] = [await outputs(peft, batch, 'logits'), await outputs(peft, given, 'logits')]
      expect(difference(a.logits, b.logits)).toBeLessThan(1e-6)
    }
  })

  it('leave tokens alone that come from an earlier pass', async () => {
    const peft = getPeftModel(tiny('causal', 'llama'), new PrefixTuningConfig({ numVirtualTokens: 3 }))
    await expect(outputs(peft, { attention_mask: int64(MASK) }, 'logits')).rejects.toThrow(
      /neither input_ids nor inputs_embeds/,
    )
  })
})
