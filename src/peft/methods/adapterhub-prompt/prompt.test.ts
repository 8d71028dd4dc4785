/** @file AdapterHub's prompt tuning: outputs of single tokens, first values, and what it refuses. */
import { cpSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../../../test/temporary.ts'
import { AutoTokenizer } from '../../../data/index.ts'
import { relu, type Tensor } from '../../../graph/index.ts'
import { type Embedding, Linear, Module } from '../../../nn/index.ts'
import { floats, tensorData } from '../../../runtime/index.ts'
import {
  AdapterHubPromptConfig,
  type AdapterHubPromptConfigOptions,
  getPeftModel,
  PeftModel,
  SeqBnConfig,
  UnionConfig,
} from '../../index.ts'
import { columns, difference, outputs, tiny } from '../../prompt-learning/testing/tiny.ts'

const batch = {
  input_ids: tensorData('int64', [
    [5, 9, 2, 7],
    [3, 8, 1, 0],
  ]),
  attention_mask: tensorData('int64', [
    [1, 1, 1, 1],
    [1, 1, 1, 0],
  ]),
}
const BOTH = [{ combine: 'prefix' }, { combine: 'prefix_after_bos' }] as const
const config = (options: AdapterHubPromptConfigOptions = {}) =>
  new AdapterHubPromptConfig({ promptLength: 3, ...options })
const promptOf = (peft: Module) =>
  [...peft.namedParameters()].find(([name]) => name.endsWith('prompt_embedding.weight'))![1]

/** The mean of -log softmax at the labels that count. */
function crossEntropy(logits: readonly (readonly number[])[], labels: readonly number[]): number {
  const losses = logits.flatMap((row, i) => {
    if (labels[i] < 0) return []
    return [Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0)) - row[labels[i]]]
  })
  return losses.reduce((sum, loss) => sum + loss, 0) / losses.length
}

const rows = (values: Float32Array, width: number) =>
  Array.from({ length: values.length / width }, (_, i) => [...values.subarray(i * width, (i + 1) * width)])

describe.each(BOTH)('with a prompt ($combine)', ({ combine }) => {
  it.each(['tokcls', 'mlm'] as const)('logits, labels and loss of %s belong to the text', async kind => {
    const model = tiny(kind, 'bert')
    const peft = getPeftModel(model, config({ combine }))
    const labels = [1, 0, 2, -100, 0, -100, 1, 2]
    const given = { ...batch, labels: tensorData('int64', labels, [2, 4]) }
    const { logits, loss } = await outputs(peft, given, 'logits', 'loss')
    const base = (await outputs(model, batch, 'logits')).logits
    expect(logits.dims).toEqual(base.dims)
    expect(difference(logits, base)).toBeGreaterThan(1e-3)
    expect(floats(loss)[0]).toBeCloseTo(crossEntropy(rows(floats(logits), logits.dims[2]), labels), 4)
  })

  it('answers lie where they lay without it', async () => {
    const model = tiny('qa', 'bert')
    const peft = getPeftModel(model, config({ combine, promptLength: 2 }))
    const positions = { start_positions: tensorData('int64', [0, 1]), end_positions: tensorData('int64', [2, 3]) }
    const result = await outputs(peft, { ...batch, ...positions }, 'start_logits', 'end_logits', 'loss')
    expect(result.start_logits.dims).toEqual([2, 4])
    // What the prompt's own rows score is not among the outputs, and only adds to what the softmax divides by.
    const cut = [result.start_logits, result.end_logits].map(logits => rows(floats(logits), 4))
    const atLeast = (crossEntropy(cut[0], [0, 1]) + crossEntropy(cut[1], [2, 3])) / 2
    expect(floats(result.loss)[0]).toBeGreaterThan(atLeast)
    expect(floats(result.loss)[0]).toBeLessThan(atLeast + Math.log(1 + 2 * Math.exp(4)))
  })

  it('the hidden states have its rows', async () => {
    const peft = getPeftModel(tiny('enc', 'bert'), config({ combine }))
    expect((await outputs(peft, batch, 'last_hidden_state')).last_hidden_state.dims).toEqual([2, 7, 24])
  })

  it('padding stays without effect', async () => {
    const peft = getPeftModel(tiny('tokcls', 'roberta', { pad_token_id: 0 }), config({ combine }))
    const { logits } = await outputs(peft, batch, 'logits')
    const short = { input_ids: tensorData('int64', [[3, 8, 1]]) }
    const alone = (await outputs(peft, short, 'logits')).logits
    const second = { ...logits, dims: [1, 4, 3], data: floats(logits).slice(12) }
    expect(difference(columns(second, 0, 3), alone)).toBeLessThan(1e-5)
  })
})

describe('first values', () => {
  it('are uniform, as wide as the option says', () => {
    const values = promptOf(
      getPeftModel(tiny('enc', 'bert'), config({ promptLength: 40, randomUniformScale: 0.2 })),
    ).data
    const largest = values.reduce((max, value) => Math.max(max, Math.abs(value)), 0)
    expect(largest).toBeLessThanOrEqual(0.2)
    expect(largest).toBeGreaterThan(0.19)
  })

  it('are those of a text, from the front again where it is too short', async () => {
    const source = fileURLToPath(new URL('../../../data/testing/tiny-llama', import.meta.url))
    const tokenizer = await AutoTokenizer.fromPretrained(source)
    const tokens = tokenizer.encode('the story').inputIds
    const folder = await temporaryFolder()
    mkdirSync(folder, { recursive: true })
    const model = tiny('enc', 'bert', { vocab_size: 1 + Math.max(...tokens) })
    await model.savePretrained(folder)
    cpSync(source, folder, { recursive: true, filter: path => !path.endsWith(join('tiny-llama', 'config.json')) })
    model.nameOrPath = folder
    const length = tokens.length + 1
    const options = { promptLength: length, promptInit: 'from_string', promptInitText: 'the story' } as const
    const values = await promptOf(getPeftModel(model, config(options))).read()
    const table = await (model.getInputEmbeddings() as Embedding).weight.read()
    const row = (token: number) => [...table.subarray(24 * token, 24 * token + 24)]
    expect([...values]).toEqual([...tokens, tokens[0]].flatMap(row))
    model.nameOrPath = undefined
    await expect(promptOf(getPeftModel(model, config(options))).read()).rejects.toThrow(/was not loaded from anywhere/)
  })
})

describe('prompts', () => {
  it('of two adapters stand one before the other, and go', async () => {
    const model = tiny('enc', 'bert')
    const peft = getPeftModel(model, config())
    peft.addAdapter('b', config({ promptLength: 2, combine: 'prefix_after_bos' }))
    const states = async () => (await outputs(peft, batch, 'last_hidden_state')).last_hidden_state
    const own = await states()
    peft.setAdapter(['default', 'b'])
    expect((await states()).dims).toEqual([2, 9, 24])
    peft.setAdapter('default')
    peft.deleteAdapter('b')
    expect(difference(await states(), own)).toBe(0)
    expect((await peft.disableAdapter(states)).dims).toEqual([2, 4, 24])
  })

  it('are saved and loaded, and trained alone', async () => {
    const model = tiny('seqcls', 'distilbert')
    const peft = getPeftModel(model, config())
    expect(peft.getNbTrainableParameters().trainable).toBe(3 * 24)
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    const back = await PeftModel.fromPretrained(model, folder)
    const logits = async (m: Module) => (await outputs(m, batch, 'logits')).logits
    expect(difference(await logits(back), await logits(peft))).toBe(0)
  })

  it('cannot differ from row to row, also in a union', async () => {
    const rowsOf = { ...batch, adapter_indices: tensorData('int64', [1, 0]) }
    for (const each of [config(), new UnionConfig({ configs: [config(), new SeqBnConfig()] })]) {
      const peft = getPeftModel(tiny('enc', 'bert'), each)
      await expect(outputs(peft, rowsOf, 'last_hidden_state')).rejects.toThrow(/cannot differ from row to row/)
    }
  })
})

class Net extends Module {
  hidden = new Linear(6, 8)
  forward(x: Tensor): Tensor {
    return relu(this.hidden.forward(x))
  }
}

describe('what is refused', () => {
  it.each<[string, () => unknown, RegExp]>([
    ['an option that does not exist', () => config({ promptLenght: 2 } as never), /no option "promptLenght"/],
    ['no length', () => config({ promptLength: 0 }), /promptLength must be a whole number above 0, got 0/],
    ['an unknown beginning', () => config({ promptInit: 'zeros' as never }), /promptInit must be "random_uniform" or/],
    ['a text that is not given', () => config({ promptInit: 'from_string' }), /promptInitText must be a text/],
    ['an unknown place', () => config({ combine: 'suffix' as never }), /combine must be "prefix" or/],
    ['no width', () => config({ randomUniformScale: 0 }), /randomUniformScale must be a number above 0, got 0/],
    ['a decoder', () => getPeftModel(tiny('causal', 'llama'), config()), /this model is a "llama"; use PROMPT_TUNING/],
    ['a module of one’s own', () => getPeftModel(new Net(), config()), /this model is a "custom"/],
  ])('%s', (_, action, message) => {
    expect(action).toThrow(message)
  })
})
