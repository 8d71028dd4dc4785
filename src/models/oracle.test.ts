/** @file The architectures against the oracle: logits, loss, hidden states, every gradient, greedy continuations. */
import { afterAll, describe, expect, it } from 'vitest'
import { oracleCase, skippable } from '../../test/shared.ts'
import { gradients } from '../autodiff/index.ts'
import { Graph, type Tensor } from '../graph/index.ts'
import { KeyValueCache } from '../nn/index.ts'
import { Engine, NodeBackend, type TensorData, tensorData } from '../runtime/index.ts'
import {
  AutoConfig,
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  type ModelInputs,
  type PreTrainedModel,
} from './index.ts'
import { AUTO_CLASSES, describeOracleModels, goldenTensors, readGolden, worstDeviation } from './testing/oracle.ts'

const engine = new Engine(new NodeBackend())
afterAll(() => engine.dispose())

/** The inputs of `model` among those given, as symbols and as values. */
function traceInputs(graph: Graph, model: PreTrainedModel, given: Record<string, TensorData>) {
  const inputs: ModelInputs = {}
  for (const [name, { dtype, shape }] of Object.entries(model.inputSpecs())) {
    if (given[name]) Object.assign(inputs, { [name]: graph.input(name, dtype, shape) })
  }
  return inputs
}

/** Everything that `model` computes from `feeds`. */
async function computeOutputs(model: PreTrainedModel, feeds: Record<string, TensorData>) {
  const { hidden_states, ...rest } = model.forward(traceInputs(new Graph(), model, feeds))
  const outputs: Record<string, Tensor> = {}
  for (const [key, tensor] of Object.entries(rest)) if (tensor) outputs[key] = tensor
  for (const [i, tensor] of (hidden_states ?? []).entries()) outputs[`hidden.${i}`] = tensor
  await using executable = await engine.compile(outputs, { mode: 'small' })
  return await executable.run(feeds)
}

/** The last token's logits of a greedy step; keys and values of earlier tokens are fed where there are any. */
function traceStep(model: PreTrainedModel, layers: number, past: boolean) {
  const graph = new Graph()
  const { num_key_value_heads, num_attention_heads, hidden_size, head_dim } = model.config as unknown as Record<
    string,
    number
  >
  const shape = [
    'batch',
    num_key_value_heads ?? num_attention_heads,
    'past',
    head_dim ?? hidden_size / num_attention_heads,
  ]
  const entry = (i: number) => ({
    key: graph.input(`key.${i}`, 'float32', shape),
    value: graph.input(`value.${i}`, 'float32', shape),
  })
  const cache = new KeyValueCache(past ? Array.from({ length: layers }, (_, i) => entry(i)) : [])
  const input_ids = graph.input('input_ids', 'int64', ['batch', 'sequence'])
  const { logits } = model.forward({ input_ids, cache, num_logits_to_keep: 1 })
  const outputs: Record<string, Tensor> = { logits: logits! }
  for (const [i, { key, value }] of cache.present.entries())
    Object.assign(outputs, { [`present.key.${i}`]: key, [`present.value.${i}`]: value })
  return outputs
}

/** Past and new keys (or values) joined along the positions, `[1, heads, positions, width]`. */
function appendPositions(before: TensorData | undefined, after: TensorData): TensorData {
  if (!before) return after
  const [, heads, , width] = after.dims
  const rows = Array.from({ length: heads }, (_, h) => {
    const part = ({ data, dims }: TensorData) => [
      ...(data as Float32Array).subarray(h * dims[2] * width, (h + 1) * dims[2] * width),
    ]
    return [...part(before), ...part(after)]
  })
  return tensorData('float32', Float32Array.from(rows.flat()), [1, heads, before.dims[2] + after.dims[2], width])
}

const largest = ({ data }: TensorData) =>
  (data as Float32Array).reduce((best, x, i, all) => (x > all[best] ? i : best), 0)

describeOracleModels((name, folder, golden) => {
  const generates = golden.kind === 'causal'
  const auto = AUTO_CLASSES[golden.kind]

  it(`oracle: ${name} gives the reference's outputs`, async () => {
    const model = await auto.fromPretrained(folder, { onWarning: () => {} })
    const feeds = goldenTensors(folder, 'in.')
    const results = await computeOutputs(model, feeds)

    const { generate, ...expected } = goldenTensors(folder, 'out.')
    expect(Object.keys(results)).toEqual(expect.arrayContaining(Object.keys(expected)))
    const mask = feeds.attention_mask?.data as BigInt64Array | undefined
    const deviations = Object.entries(expected).map(([key, tensor]) => {
      // The decoder of a sequence-to-sequence model reads tokens of its own, of which none is padding.
      const byToken = tensor.dims.length === 3 && tensor.dims[1] === feeds.attention_mask?.dims[1]
      return [key, worstDeviation(results[key], tensor, golden, byToken ? mask : undefined)] as const
    })
    expect(deviations.filter(([, deviation]) => deviation > 1)).toEqual([])
  })

  // A base model has no loss, so the reference has no gradients of it.
  if (golden.loss !== undefined)
    it(`oracle: ${name} gives the reference's gradient of every parameter`, async () => {
      const model = await auto.fromPretrained(folder, { onWarning: () => {} })
      const feeds = goldenTensors(folder, 'in.')
      const expected = goldenTensors(folder, 'grad.')
      const graph = new Graph()
      const { loss } = model.forward(traceInputs(graph, model, feeds))
      // Some are fixed by the architecture, and no loss has a gradient of them.
      const parameters = [...model.namedParameters()].filter(([, { requiresGrad }]) => requiresGrad)
      // Transformers names some modules otherwise in memory than in checkpoints.
      const named = new Map(Object.entries(expected).map(([key, tensor]) => [model.currentName(key), tensor]))
      // The reference has no gradient of parameters that the loss does not read, such as a token of pretraining.
      for (const [key, { shape, size }] of parameters) {
        if (!named.has(key)) named.set(key, { dtype: 'float32', dims: [...shape], data: new Float32Array(size) })
      }
      const grads = gradients(
        loss!,
        parameters.map(([, parameter]) => parameter.trace(graph)),
      )
      const outputs = Object.fromEntries(parameters.map(([key], i) => [`grad.${key}`, grads[i]]))
      await using executable = await engine.compile(outputs, { mode: 'small' })
      const results = await executable.run(feeds)
      expect(parameters.map(([key]) => key).sort()).toEqual([...named.keys()].sort())
      const deviations = [...named].map(
        ([key, tensor]) => [key, worstDeviation(results[`grad.${key}`], tensor, golden)] as const,
      )
      expect(deviations.filter(([, deviation]) => deviation > 1)).toEqual([])
    })

  if (generates)
    it(`oracle: ${name} continues greedily as the reference, with a cache`, async () => {
      const model = await auto.fromPretrained(folder, { onWarning: () => {} })
      const prompt = goldenTensors(folder, 'in.').generate
      const reference = [...(goldenTensors(folder, 'out.').generate.data as BigInt64Array)].map(Number)
      const layers = (model.config as unknown as { num_hidden_layers: number }).num_hidden_layers
      await using first = await engine.compile(traceStep(model, layers, false), { mode: 'small' })
      await using next = await engine.compile(traceStep(model, layers, true), { mode: 'small' })
      const tokens = [...(prompt.data as BigInt64Array)].map(Number)
      const cache: Record<string, TensorData> = {}
      let fresh = tokens
      while (tokens.length < reference.length) {
        const step = fresh === tokens ? first : next
        const results = await step.run({ input_ids: tensorData('int64', [fresh]), ...cache })
        for (const [key, value] of Object.entries(results)) {
          if (key === 'logits') continue
          const name = key.replace('present.', '')
          cache[name] = appendPositions(cache[name], value)
        }
        fresh = [largest(results.logits)]
        tokens.push(...fresh)
      }
      expect(tokens).toEqual(reference)
    })
})

const mistral = oracleCase('models', 'mistral-causal')

describe.skipIf(!mistral)(skippable('oracle: sliding windows', !mistral && 'no copy of the oracle here'), () => {
  it('oracle: without its window a model deviates', async () => {
    const config = (await AutoConfig.fromPretrained(mistral!)).with({ sliding_window: null })
    const model = await AutoModelForCausalLM.fromPretrained(mistral!, { config })
    const feeds = goldenTensors(mistral!, 'in.')
    const { logits } = goldenTensors(mistral!, 'out.')
    const results = await computeOutputs(model, feeds)
    const rows = feeds.attention_mask.data as BigInt64Array
    expect(worstDeviation(results.logits, logits, readGolden(mistral!), rows)).toBeGreaterThan(1)
  })
})

const classifier = oracleCase('models', 'llama-seqcls')

describe.skipIf(!classifier)(skippable('oracle: the last token', !classifier && 'no copy of the oracle here'), () => {
  it('oracle: is found by the attention mask where the model has no padding token, or gets embeddings', async () => {
    const feeds = goldenTensors(classifier!, 'in.')
    const { logits } = goldenTensors(classifier!, 'out.')
    const golden = readGolden(classifier!)
    const model = await AutoModelForSequenceClassification.fromPretrained(classifier!)
    const table = await model.getInputEmbeddings().parameters()[0].read()
    const rows = [...(feeds.input_ids.data as BigInt64Array)].map(id => [
      ...table.subarray(Number(id) * 32, Number(id) * 32 + 32),
    ])
    const { input_ids, ...others } = feeds
    const inputs_embeds = tensorData('float32', Float32Array.from(rows.flat()), [...input_ids.dims, 32])
    expect(
      worstDeviation((await computeOutputs(model, { ...others, inputs_embeds })).logits, logits, golden),
    ).toBeLessThan(1)

    const config = model.config.with({ pad_token_id: null })
    const unpadded = await AutoModelForSequenceClassification.fromPretrained(classifier!, { config })
    expect(worstDeviation((await computeOutputs(unpadded, feeds)).logits, logits, golden)).toBeLessThan(1)
  })
})
