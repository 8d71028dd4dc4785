/** @file The Trainer on sequence-to-sequence models, token classifiers, question answering and masked tokens. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { AutoTokenizer, Dataset, type Tokenizer } from '../data/index.ts'
import { tinyBertFolder } from '../data/testing/fixtures.ts'
import '../generation/index.ts'
import {
  AutoConfig,
  AutoModelForMaskedLM,
  AutoModelForQuestionAnswering,
  AutoModelForSeq2SeqLM,
  AutoModelForTokenClassification,
} from '../models/index.ts'
import { getPeftModel, LoraConfig } from '../peft/index.ts'
import { defaultEngine } from '../runtime/index.ts'
import { answerMetrics, bestSpan } from './question-answering.ts'
import { entityScores, tagMetrics } from './tagging.ts'
import { Trainer } from './trainer.ts'

afterAll(async () => (await defaultEngine()).dispose())

let tokenizer: Tokenizer
beforeAll(async () => {
  tokenizer = await AutoTokenizer.fromPretrained(tinyBertFolder)
})

const args = { learningRate: 0.01, perDeviceTrainBatchSize: 4, perDeviceEvalBatchSize: 3, threads: 1 }

const bertConfig = (more: object = {}) =>
  AutoConfig.fromJSON({
    ...{ model_type: 'bert', vocab_size: tokenizer.vocabSize, hidden_size: 16, num_hidden_layers: 1 },
    ...{ num_attention_heads: 2, intermediate_size: 32, max_position_embeddings: 32, initializer_range: 0.2 },
    ...{ hidden_dropout_prob: 0, attention_probs_dropout_prob: 0, ...more },
  })

const t5Config = () =>
  AutoConfig.fromJSON({
    ...{ model_type: 't5', vocab_size: tokenizer.vocabSize, d_model: 16, d_kv: 8, d_ff: 24, num_layers: 1 },
    ...{ num_decoder_layers: 1, num_heads: 2, dropout_rate: 0, pad_token_id: 0, decoder_start_token_id: 0 },
    ...{ eos_token_id: tokenizer.sepTokenId, tie_word_embeddings: false },
  })

describe('a sequence-to-sequence model', () => {
  const rows = new Dataset([
    { source: 'the film was good', target: 'great' },
    { source: 'the film was bad , very bad', target: 'dull film' },
  ])

  it('learns targets of other lengths than their sources, and generates them', async () => {
    const model = AutoModelForSeq2SeqLM.fromConfig(t5Config())
    model.initialize(1)
    const peft = getPeftModel(
      model,
      new LoraConfig({ r: 8, targetModules: 'all-linear', modulesToSave: ['lm_head'], taskType: 'SEQ_2_SEQ_LM' }),
    )
    const trainer = new Trainer({ model: peft, tokenizer, trainDataset: rows, args: { ...args, numTrainEpochs: 60 } })
    expect(trainer.task).toBe('SEQ_2_SEQ_LM')
    await trainer.train()
    const metrics = await trainer.evaluate(rows)
    expect(metrics.eval_loss).toBeLessThan(0.1)
    expect(metrics.eval_perplexity).toBeCloseTo(Math.exp(metrics.eval_loss), 6)
    const prompt = tokenizer.encode('the film was bad , very bad').inputIds
    const { newTokens } = await peft.generate(prompt, { maxNewTokens: 6 })
    expect(tokenizer.decode(newTokens[0])).toBe('[CLS] dull film [SEP]')

    const { logits, labels } = await trainer.predict(rows)
    expect(labels).toEqual([tokenizer.encode('great').inputIds, tokenizer.encode('dull film').inputIds])
    expect(logits.map(({ length }) => length / tokenizer.vocabSize)).toEqual([3, 4])
  })

  it('has a loss that does not depend on how the data is cut into batches', async () => {
    const model = AutoModelForSeq2SeqLM.fromConfig(t5Config())
    model.initialize(2)
    const losses = []
    for (const perDeviceEvalBatchSize of [1, 2]) {
      const trainer = new Trainer({ model, tokenizer, args: { threads: 1, perDeviceEvalBatchSize } })
      losses.push((await trainer.evaluate(rows)).eval_loss)
    }
    expect(losses[0]).toBeCloseTo(losses[1], 5)
  })

  it('refuses targets outside the vocabulary', () => {
    const model = AutoModelForSeq2SeqLM.fromConfig(t5Config())
    const bad = [{ inputIds: [5], labels: [5, 2000] }]
    expect(() => new Trainer({ model, trainDataset: bad, args })).toThrow(
      /the label 2000 is not one of the model's 105/,
    )
  })
})

describe('a token classifier', () => {
  const rows = new Dataset([
    { tokens: ['the', 'film', 'was', 'good'], tags: ['O', 'B-X', 'O', 'O'] },
    { tokens: ['a', 'great', 'filming', 'movie'], tags: ['O', 'O', 'B-X', 'I-X'] },
    { tokens: ['film'], tags: ['B-X'] },
  ])

  it('learns the tags of words, not shifted, and reports tokens and entities', async () => {
    const model = AutoModelForTokenClassification.fromConfig(bertConfig({ id2label: { 0: 'O', 1: 'B-X', 2: 'I-X' } }))
    model.initialize(1)
    const trainer = new Trainer({ model, tokenizer, trainDataset: rows, args: { ...args, numTrainEpochs: 40 } })
    await trainer.train()
    expect(await trainer.evaluate(rows)).toMatchObject({
      ...{ eval_accuracy: 1, eval_precision: 1, eval_recall: 1, eval_f1: 1 },
    })
    const single = [{ inputIds: [2], labels: [1] }]
    expect((await trainer.evaluate(single)).eval_loss).toBeGreaterThan(0)
  })

  it('refuses tags that it has no class for, although the vocabulary has such a token', () => {
    const model = AutoModelForTokenClassification.fromConfig(bertConfig())
    const bad = [{ inputIds: [5, 6], labels: [0, 2] }]
    expect(() => new Trainer({ model, trainDataset: bad, args })).toThrow(
      /the label 2 is not one of the model's 2 classes/,
    )
  })

  it('is measured by whole entities, as CoNLL counts them', () => {
    const actual = ['B-A', 'I-A', 'O', 'I-B', 'B-B', 'I-A']
    expect(entityScores([[actual, actual]])).toEqual({ precision: 1, recall: 1, f1: 1 })
    const scores = entityScores([[['B-A', 'O', 'O', 'B-B', 'B-B', 'O'], actual]])
    expect(scores.precision).toBeCloseTo(2 / 3)
    expect(scores.recall).toBe(2 / 4)
    expect(scores.f1).toBeCloseTo(4 / 7)
    expect(entityScores([[['O'], ['O']]])).toEqual({ precision: 0, recall: 0, f1: 0 })
    expect(tagMetrics([[0, 1, 5, 0, 1, 0]], [[1, -100, 1]], { 0: 'x', 1: 'y' })).toEqual({ accuracy: 0.5 })
  })
})

describe('question answering', () => {
  const rows = new Dataset(
    ['film', 'movie', 'dull', 'great'].map((answer, i) => ({
      question: 'what is it ?',
      context: `${'i love '.repeat(i)}this ${answer} , ok`,
      answer,
    })),
  )

  it('learns where answers stand', async () => {
    const model = AutoModelForQuestionAnswering.fromConfig(bertConfig())
    model.initialize(1)
    const trainer = new Trainer({ model, tokenizer, trainDataset: rows, args: { ...args, numTrainEpochs: 60 } })
    const before = (await trainer.evaluate(rows)).eval_loss
    await trainer.train()
    const metrics = await trainer.evaluate(rows)
    expect(metrics.eval_loss).toBeLessThan(before / 4)
    expect(metrics).toMatchObject({ eval_exact_match: 1, eval_f1: 1 })
    const { logits, labels } = await trainer.predict(rows)
    expect(labels[0]).toEqual([7, 7])
    expect(bestSpan(logits[0])).toEqual([7, 7])
  })

  it('refuses answers behind the end of a text', () => {
    const model = AutoModelForQuestionAnswering.fromConfig(bertConfig())
    for (const labels of [[1, 5], [2, 1], [1]]) {
      const bad = [{ inputIds: [5, 6, 7], labels }]
      expect(() => new Trainer({ model, trainDataset: bad, args })).toThrow(/expected the first and the last token/)
    }
  })

  it('is measured by exact matches and by the overlap of tokens', () => {
    const scores = [0, 0, 9, 0, 0, 0, 0, 9]
    expect(bestSpan(scores)).toEqual([1, 3])
    expect(bestSpan(scores, [2, 4])).toEqual([2, 3])
    expect(bestSpan([9, 9, 1, 1], [1, 2])).toEqual([0, 0])
    const metrics = answerMetrics(
      [scores, scores],
      [
        [1, 3],
        [3, 3],
      ],
      [undefined, undefined],
    ) // prettier-ignore
    expect(metrics).toEqual({ exact_match: 0.5, f1: (1 + 2 / 4) / 2 })
  })
})

describe('masked tokens', () => {
  it('are labels of the vocabulary at their own places', async () => {
    const model = AutoModelForMaskedLM.fromConfig(bertConfig())
    model.initialize(1)
    const [film, mask] = ['film', '[MASK]'].map(token => tokenizer.tokenToId(token)!)
    const trainDataset = [{ inputIds: [mask, 9], labels: [film, -100] }]
    const trainer = new Trainer({ model, tokenizer, trainDataset, args: { ...args, numTrainEpochs: 20 } })
    expect(trainer.task).toBe('MASKED_LM')
    await trainer.train()
    const metrics = await trainer.evaluate(trainDataset)
    expect(metrics.eval_loss).toBeLessThan(0.5)
    expect(metrics.eval_perplexity).toBeCloseTo(Math.exp(metrics.eval_loss), 6)
    const rows = new Dataset([{ text: 'film' }])
    expect(() => new Trainer({ model, tokenizer, trainDataset: rows, args })).toThrow(/which tokens are masked/)
  })
})
