/** @file Sentence embeddings: folders as sentence-transformers writes them, adapters, prompts, and training. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { saveTinyBert } from '../cli/testing/peft.ts'
import { Dataset } from '../data/index.ts'
import { compile } from '../models/function.ts'
import type { PreTrainedModel } from '../models/index.ts'
import { getPeftModel, LoraConfig, PromptTuningConfig } from '../peft/index.ts'
import { floats, tensorData } from '../runtime/index.ts'
import { Trainer, valueAndGrad } from '../training/index.ts'
import { EmbeddingTask, type EmbeddingTaskOptions } from './embedding-task.ts'
import type { EmbeddingLoss } from './loss-names.ts'
import { multipleNegativesRankingLoss } from './losses.ts'
import { Dense, Normalize } from './modules.ts'
import { Pooling } from './pooling.ts'
import { type EmbeddingInputs, SentenceTransformer } from './sentence-transformer.ts'
import { recallAt1 } from './similarity.ts'

const TEXTS = ['a great film', 'the movie was dull, not good', 'good']

let folder: string
let bert: string
const path = (...names: string[]) => join(folder, ...names)
const quiet = { onWarning: () => {} }

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'peft-ts-embeddings-'))
  bert = await saveTinyBert(folder)
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const open = () => SentenceTransformer.fromPretrained(bert, quiet)
const lora = () =>
  new LoraConfig({ taskType: 'FEATURE_EXTRACTION', r: 4, targetModules: ['query', 'value'], initLoraWeights: false })

/** The files of a sentence-transformers model around the tiny BERT, some of them others. */
async function withFiles(name: string, files: Record<string, unknown>): Promise<string> {
  const target = path(name)
  const model = await open()
  await model.savePretrained(target)
  for (const [file, content] of Object.entries(files)) {
    await mkdir(join(target, file, '..'), { recursive: true })
    await writeFile(join(target, file), JSON.stringify(content))
  }
  return target
}

/** The mean of a text's hidden states, each text by itself. */
async function means(model: SentenceTransformer, texts: readonly string[]): Promise<Float32Array[]> {
  const transformer = model.transformer as PreTrainedModel
  await using run = await compile(transformer, (module, inputs) => ({ y: module.forward(inputs).last_hidden_state! }))
  const result: Float32Array[] = []
  for (const text of texts) {
    const { inputIds } = model.tokenizer.encode(text)
    const { y } = await run({ input_ids: tensorData('int64', [inputIds]) })
    const width = y.dims[2]
    const values = floats(y)
    result.push(
      Float32Array.from({ length: width }, (_, axis) => {
        let sum = 0
        for (let i = 0; i < inputIds.length; i++) sum += values[i * width + axis]
        return sum / inputIds.length
      }),
    ) // prettier-ignore
  }
  return result
}

function expectClose(actual: readonly ArrayLike<number>[], expected: readonly ArrayLike<number>[], digits = 5) {
  expect(actual.map(row => row.length)).toEqual(expected.map(row => row.length))
  actual.forEach((row, i) => {
    Array.from(row).forEach((value, j) => void expect(value).toBeCloseTo(expected[i][j], digits))
  })
}

describe('encode', () => {
  it('gives each text its own embedding, whatever batch it is in', async () => {
    await using model = await open()
    const expected = await means(model, TEXTS)
    expectClose(await model.encode(TEXTS), expected)
    expectClose(await model.encode(TEXTS, { batchSize: 1 }), expected)
    expectClose([await model.encode(TEXTS[1])], [expected[1]])
    expect(await model.encode([])).toEqual([])
  })

  it('makes embeddings one long, cuts them, and compares them', async () => {
    await using model = await open()
    const plain = await model.encode(TEXTS)
    const cut = await model.encode(TEXTS, { truncateDim: 5, normalizeEmbeddings: true })
    const length = (row: Float32Array) => Math.hypot(...row)
    expectClose(
      cut,
      plain.map(row => row.slice(0, 5).map(x => x / length(row.slice(0, 5)))),
    )
    const cosines = model.similarity(plain, plain)
    expect(cosines[0][0]).toBeCloseTo(1, 5)
    expect(cosines[0][1]).toBeCloseTo(cosines[1][0], 6)
    const seen: number[][] = []
    await model.encode(TEXTS, { batchSize: 2, onProgress: (done, total) => void seen.push([done, total]) })
    expect(seen).toEqual([
      [2, 3],
      [3, 3],
    ])
  })

  it('puts prompts in front, the default one where none is named, and leaves them out of pooling where it is to', async () => {
    const settings = { prompts: { query: 'the film ', none: '' }, default_prompt_name: 'query' }
    const whole = await SentenceTransformer.fromPretrained(
      await withFiles('prompts', { 'config_sentence_transformers.json': settings }),
    )
    const plain = await open()
    const prompted = await plain.encode(TEXTS.map(text => `the film ${text}`))
    expectClose(await whole.encode(TEXTS), prompted)
    expectClose(await whole.encode(TEXTS, { promptName: 'none' }), await plain.encode(TEXTS))
    expectClose(await plain.encode(TEXTS, { prompt: 'the film ' }), prompted)
    await expect(whole.encode(TEXTS, { promptName: 'qeury' })).rejects.toThrow(
      'no prompt "qeury". Did you mean "query"?',
    )
    await expect(whole.encode(TEXTS, { promptName: 'query', prompt: 'x' })).rejects.toThrow('expected one of them')

    const { transformer, tokenizer } = plain
    const pooling = new Pooling({ embeddingDimension: 32, poolingMode: 'mean', includePrompt: false })
    const excluding = new SentenceTransformer({ transformer, tokenizer, pooling })
    const without = await excluding.encode(TEXTS, { prompt: 'the film ' })
    // [CLS] the film: three tokens of the sum are missing.
    const first = new SentenceTransformer({
      ...{ transformer, tokenizer },
      pooling: new Pooling({ embeddingDimension: 32, poolingMode: 'cls', includePrompt: false }),
    })
    expect(without[0].every((value, i) => Math.abs(value - prompted[0][i]) < 1e-4)).toBe(false)
    const position = await hiddenAt(plain, `the film ${TEXTS[0]}`, 3)
    expectClose([(await first.encode(TEXTS, { prompt: 'the film ' }))[0]], [position])
  })

  it('cuts texts to the longest that it takes', async () => {
    const short = await withFiles('short', { 'sentence_bert_config.json': { max_seq_length: 4, do_lower_case: true } })
    await using model = await SentenceTransformer.fromPretrained(short)
    expect(model.maxSeqLength).toBe(4)
    expect((await open()).maxSeqLength).toBe(32)
    expectClose([await model.encode('A GREAT film was good')], [await (await open()).encode('a great')])
  })

  it('refuses options that make no sense', async () => {
    const model = await open()
    await expect(model.encode([1 as unknown as string])).rejects.toThrow('got 1, expected a text or a list of texts')
    await expect(model.encode({} as unknown as string)).rejects.toThrow('got an object')
    await expect(model.encode(TEXTS, { batchSize: 0 })).rejects.toThrow('batchSize is 0')
    await expect(model.encode(TEXTS, { truncateDim: 99 })).rejects.toThrow(
      'truncateDim is 99, expected a whole number from 1 to 32',
    )
    await expect(model.encode(TEXTS, { signal: AbortSignal.abort(new Error('no more')) })).rejects.toThrow('no more')
  })
})

/** The hidden state of one token. */
async function hiddenAt(model: SentenceTransformer, text: string, position: number): Promise<Float32Array> {
  const transformer = model.transformer as PreTrainedModel
  await using run = await compile(transformer, (module, inputs) => ({ y: module.forward(inputs).last_hidden_state! }))
  const { y } = await run({ input_ids: tensorData('int64', [model.tokenizer.encode(text).inputIds]) })
  return floats(y).slice(position * y.dims[2], (position + 1) * y.dims[2])
}

describe('folders', () => {
  it('are read as they were written, with all modules and unknown settings', async () => {
    const { transformer, tokenizer } = await open()
    const modules = [new Dense({ inFeatures: 64, outFeatures: 6 }), new Normalize()]
    for (const module of modules) module.initialize(1)
    const pooling = new Pooling({ embeddingDimension: 32, poolingMode: ['cls', 'mean'] })
    const settings = { prompts: { query: 'q ' }, similarityFnName: 'dot', maxSeqLength: 16 }
    const raw = { sentence: { own: 1 }, model: { __version__: { pytorch: '2' } } }
    await using model = new SentenceTransformer({ transformer, tokenizer, pooling, modules, settings, raw })
    const expected = await model.encode(TEXTS)
    expect(Math.hypot(...expected[0])).toBeCloseTo(1, 5)
    await model.savePretrained(path('whole'))
    await using again = await SentenceTransformer.fromPretrained(path('whole'))
    expectClose(await again.encode(TEXTS), expected)
    expect(again).toMatchObject({ similarityFnName: 'dot', maxSeqLength: 16, embeddingDimension: 6 })
    const read = async (name: string) => JSON.parse(await readFile(path('whole', name), 'utf8'))
    expect(await read('modules.json')).toEqual(
      ['', '1_Pooling', '2_Dense', '3_Normalize'].map((at, idx) => {
        const name = at.split('_')[1] ?? 'Transformer'
        return { idx, name: String(idx), path: at, type: `sentence_transformers.models.${name}` }
      }),
    )
    expect(await read('1_Pooling/config.json')).toMatchObject({
      word_embedding_dimension: 32,
      pooling_mode_cls_token: true,
      pooling_mode_mean_tokens: true,
      pooling_mode_max_tokens: false,
      include_prompt: true,
    })
    expect(await read('sentence_bert_config.json')).toEqual({ own: 1, max_seq_length: 16, do_lower_case: false })
    expect(await read('config_sentence_transformers.json')).toEqual({
      __version__: { pytorch: '2' },
      prompts: { query: 'q ' },
      default_prompt_name: null,
      similarity_fn_name: 'dot',
    })
  })

  it('of new versions are read too', async () => {
    const kinds = [
      ['', 'base.modules.transformer.Transformer'],
      ['1_Pooling', 'sentence_transformer.modules.pooling.Pooling'],
    ]
    const target = await withFiles('new', {
      'modules.json': kinds.map(([at, type], idx) => ({
        idx,
        name: `${idx}`,
        path: at,
        type: `sentence_transformers.${type}`,
      })),
      '1_Pooling/config.json': { embedding_dimension: 32, pooling_mode: ['lasttoken', 'cls'], include_prompt: true },
    })
    const model = await SentenceTransformer.fromPretrained(target)
    expect(model.pooling.poolingModes).toEqual(['lasttoken', 'cls'])
    await model.savePretrained(path('new-again'))
    const again = await SentenceTransformer.fromPretrained(path('new-again'))
    expect(again.pooling.poolingModes).toEqual(['lasttoken', 'cls'])
  })

  it('without modules.json get mean pooling, which is said', async () => {
    const warnings: string[] = []
    const model = await SentenceTransformer.fromPretrained(bert, { onWarning: message => warnings.push(message) })
    expect(warnings).toEqual([expect.stringContaining('has no modules.json: the mean of its hidden states is taken')])
    expect(model.pooling.poolingModes).toEqual(['mean'])
  })

  it('that cannot be computed are refused', async () => {
    const entry = (idx: number, type: string, at = '') => ({ idx, name: `${idx}`, path: at, type: `x.${type}` })
    const start = [entry(0, 'Transformer'), entry(1, 'Pooling', '1_Pooling')]
    const dense = [...start, entry(2, 'Dense', '2_Dense')]
    const wrong: [Record<string, unknown>, string | RegExp][] = [
      [{ 'modules.json': [...start, entry(2, 'LSTM')] }, 'module 2 is a x.LSTM, which is not computed here'],
      [{ 'modules.json': [start[0]] }, 'the modules are Transformer; expected Transformer and Pooling'],
      [{ 'modules.json': dense }, /2_Dense.config\.json is missing/],
      [
        {
          'modules.json': dense,
          '2_Dense/config.json': { in_features: 32, out_features: 2, activation_function: 'own.Act' },
        },
        'the activation own.Act is not known',
      ],
      [
        { 'modules.json': dense, '2_Dense/config.json': { in_features: 32, out_features: 2 } },
        'a pytorch_model.bin is not read',
      ],
      [{ '1_Pooling/config.json': { word_embedding_dimension: 7 } }, 'for hidden states of width 7, the model has 32'],
      [
        { 'config_sentence_transformers.json': { default_prompt_name: 'q' } },
        'default_prompt_name is "q", and the prompts are none',
      ],
    ]
    for (const [i, [files, message]] of wrong.entries()) {
      await expect(SentenceTransformer.fromPretrained(await withFiles(`wrong-${i}`, files))).rejects.toThrow(message)
    }
  })
})

describe('adapters', () => {
  it('change embeddings, and off they give those of the base, bit for bit', async () => {
    await using base = await open()
    const peft = getPeftModel(base.transformer as PreTrainedModel, lora())
    await using adapted = base.withTransformer(peft)
    const [plain, changed] = [await base.encode(TEXTS), await adapted.encode(TEXTS)]
    expect(changed[0].some((value, i) => Math.abs(value - plain[0][i]) > 1e-3)).toBe(true)
    expect(await peft.disableAdapter(() => adapted.encode(TEXTS))).toEqual(plain)
    await adapted.savePretrained(path('adapter'))
    await using again = await SentenceTransformer.fromPretrained(path('adapter'))
    expectClose(await again.encode(TEXTS), changed)
  }, 20_000)

  it('within the transformer itself are followed too', async () => {
    await using model = await open()
    const transformer = model.transformer as PreTrainedModel
    const plain = await model.encode(TEXTS)
    transformer.addAdapter(lora(), 'inside')
    expect((await model.encode(TEXTS))[0]).not.toEqual(plain[0])
    transformer.disableAdapters()
    expectClose(await model.encode(TEXTS), plain)
  })

  it('in front of a text take no part in pooling', async () => {
    await using base = await open()
    const config = new PromptTuningConfig({ taskType: 'FEATURE_EXTRACTION', numVirtualTokens: 3 })
    await using adapted = base.withTransformer(getPeftModel(base.transformer as PreTrainedModel, config))
    expect(adapted.maxSeqLength).toBe(29)
    const [together, alone] = [await adapted.encode(TEXTS), await adapted.encode(TEXTS, { batchSize: 1 })]
    expectClose(together, alone)
  })
})

describe('training', () => {
  const pairs = ['great', 'dull', 'good', 'bad'].map((word, i) => ({
    anchor: `the film was ${word}`,
    positive: ['a', 'i love this', 'ok', 'not at all'][i],
  }))

  it('with a loss of one’s own brings texts that belong together nearer', async () => {
    await using base = await open()
    const peft = getPeftModel(base.transformer as PreTrainedModel, lora())
    const model = base.withTransformer(peft)
    const encodings = (column: 'anchor' | 'positive') => model.batch(pairs.map(row => model.tokenize(row[column])))
    const named = (column: 'anchor' | 'positive') =>
      Object.entries(encodings(column)).map(([name, data]) => [`${column}_${name}`, data])
    const of = (inputs: Record<string, unknown>, column: string) => {
      const own = Object.entries(inputs).filter(([name]) => name.startsWith(`${column}_`))
      return Object.fromEntries(
        own.map(([name, value]) => [name.slice(column.length + 1), value]),
      ) as unknown as EmbeddingInputs
    }
    await using step = await valueAndGrad(peft, (_, inputs) =>
      multipleNegativesRankingLoss(model.embed(of(inputs, 'anchor')), model.embed(of(inputs, 'positive'))),
    )
    const batch = Object.fromEntries([...named('anchor'), ...named('positive')])
    const { value, grads } = await step(batch)
    expect(value).toBeGreaterThan(0.5)
    expect(grads.norm()).toBeGreaterThan(0.01)
  })

  it('with the Trainer: ranking, measured by accuracy at 1', async () => {
    await using base = await open()
    const model = base.withTransformer(getPeftModel(base.transformer as PreTrainedModel, lora()))
    const rows = new Dataset(pairs)
    const task = EmbeddingTask.for(model, rows)
    expect(task.loss).toBe('multiple_negatives_ranking')
    const examples = task.examples(rows)
    const trainer = new Trainer({
      ...{ model: task.model, trainDataset: examples, evalDataset: examples },
      ...{ dataCollator: task.collate, computeMetrics: task.metrics },
      args: {
        numTrainEpochs: 20,
        learningRate: 0.02,
        perDeviceTrainBatchSize: 4,
        perDeviceEvalBatchSize: 4,
        threads: 1,
      },
    })
    const before = await trainer.evaluate()
    const { metrics } = { ...(await trainer.train()), metrics: await trainer.evaluate() }
    expect(before.eval_accuracy_at_1).toBeLessThan(1)
    expect(metrics.eval_accuracy_at_1).toBe(1)
    expect(metrics.eval_loss).toBeLessThan(before.eval_loss / 2)
    const [anchors, positives] = [
      await model.encode(pairs.map(({ anchor }) => anchor)),
      await model.encode(pairs.map(({ positive }) => positive)),
    ]
    expect(recallAt1(anchors, positives)).toBe(1)
  }, 20_000)

  it('with the Trainer: scores of pairs, a dense layer too, measured by Spearman’s correlation', async () => {
    const { transformer, tokenizer, pooling } = await open()
    const dense = new Dense({ inFeatures: 32, outFeatures: 8 })
    dense.initialize(1)
    for (const [, parameter] of (transformer as PreTrainedModel).namedParameters()) parameter.requiresGrad = false
    await using model = new SentenceTransformer({ transformer, tokenizer, pooling, modules: [dense] })
    const rows = new Dataset([
      { sentence1: 'a great film', sentence2: 'a good film', score: 0.9 },
      { sentence1: 'a great film', sentence2: 'bad', score: -0.5 },
      { sentence1: 'dull', sentence2: 'the film was bad', score: 0.4 },
    ])
    const task = EmbeddingTask.for(model, rows, { loss: 'cosine_similarity' })
    const examples = task.examples(rows)
    const before = await model.encode(TEXTS)
    const trainer = new Trainer({
      ...{ model: task.model, trainDataset: examples, evalDataset: examples },
      ...{ dataCollator: task.collate, computeMetrics: task.metrics },
      args: { numTrainEpochs: 40, learningRate: 0.02, perDeviceTrainBatchSize: 2, threads: 1 },
    })
    await trainer.train()
    const metrics = await trainer.evaluate()
    expect(metrics.eval_spearman_cosine).toBe(1)
    expect(metrics.eval_loss).toBeLessThan(0.02)
    // What was compiled before reads the values of now.
    expect((await model.encode(TEXTS))[0]).not.toEqual(before[0])
  }, 20_000)

  it('counts texts that occur several times as one, and refuses, leaves out or cuts long ones', async () => {
    const model = await open()
    const rows = new Dataset([
      { query: 'a', answer: 'b' },
      { query: 'a', answer: 'c' },
      { query: 'd', answer: 'b' },
      { query: 'd', answer: `${'film '.repeat(40)}` },
    ])
    const task = EmbeddingTask.for(model, rows)
    expect(task.roles).toEqual({ anchor: 'query', positive: 'answer' })
    expect(() => task.tokenize(rows, { overlong: 'error' })).toThrow('1 of 4 rows is longer than maxLength = 32')
    expect(task.examples(rows)[3].texts[1].inputIds).toHaveLength(32)
    const { features, tooLong, rows: kept } = task.tokenize(rows, { overlong: 'skip' })
    expect([kept, tooLong]).toEqual([[0, 1, 2], [{ index: 3, length: 42 }]])
    const [a, b, c, d] = [
      [1, 0],
      [1, 0.1],
      [1, 0],
      [0, 1],
    ].map(start => Float32Array.from({ length: 32 }, (_, i) => start[i] ?? 0)) // prettier-ignore
    const of = (first: Float32Array, second: Float32Array) => Float32Array.of(...first, ...second)
    const predictions = { logits: [of(a, b), of(a, c), of(d, b)], labels: [0, 1, 2] }
    expect(task.metricsOf(features)(predictions)).toEqual({ accuracy_at_1: 1, mrr: 1 })
    expect(task.metrics(predictions).accuracy_at_1).toBeLessThan(1)
  })

  it('refuses rows that fit no loss, and says which do', async () => {
    const model = await open()
    const task = (rows: Record<string, unknown>[], options: EmbeddingTaskOptions = {}) =>
      EmbeddingTask.for(model, new Dataset(rows), options)
    expect(() => task([{ text: 'a' }])).toThrow('expected anchor, positive or sentence1, sentence2, score')
    const both = [{ anchor: 'a', positive: 'b', sentence1: 'a', sentence2: 'b', score: 1 }]
    expect(() => task(both)).toThrow('and not both: say which loss')
    expect(task(both, { loss: 'cosine_similarity' }).columns).toEqual(['sentence1', 'sentence2'])
    expect(() => task(pairs, { loss: 'cosnt' as EmbeddingLoss })).toThrow('Did you mean "cosent"?')
    expect(() => task(pairs, { columns: { ancor: 'anchor' } })).toThrow('Did you mean "anchor"')
    expect(() => task(pairs, { columns: { anchor: 'x' } })).toThrow('no column "x"')
    expect(() => task(pairs, { loss: 'cosine_similarity' })).toThrow('which column holds the sentence1')
    const scored = (score: unknown, loss: EmbeddingLoss = 'cosine_similarity') => {
      const rows = new Dataset([{ sentence1: 'a', sentence2: 'b', score }])
      return () => EmbeddingTask.for(model, rows, { loss }).examples(rows)
    }
    expect(scored(5, 'cosent')()).toMatchObject([{ score: 5 }])
    expect(scored('good', 'cosent')).toThrow('"score" is "good", expected a number')
    expect(scored(5)).toThrow('Row 0: "score" is 5, expected a number from -1 to 1')
    expect(scored('')).toThrow('"score" is ""')
    const empty = new Dataset([{ anchor: 'a', positive: '' }])
    expect(() => EmbeddingTask.for(model, empty).examples(empty)).toThrow('Row 0: "positive" is "", expected a text')
    const more = task([{ anchor: 'a', positive: 'b', negative_1: 'c', negative_2: 'd' }])
    expect(more.columns).toEqual(['anchor', 'positive', 'negative_1', 'negative_2'])
    expect([more.needsOthers, task(pairs).needsOthers]).toEqual([false, true])
    const named = task([{ q: 'a', a: 'b', n: 'c' }], { columns: { anchor: 'q', positive: 'a', negative: 'n' } })
    expect(named.columns).toEqual(['q', 'a', 'n'])
  })
})
