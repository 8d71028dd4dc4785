/** @file Texts that join, leave, change places and are repeated continue as they do alone. */
import { describe, expect, it } from 'vitest'
import { getPeftModel, LoraConfig, PrefixTuningConfig, SeqBnConfig } from '../peft/index.ts'
import type { TensorData } from '../runtime/index.ts'
import { longestInPieces } from './pieces.ts'
import { acquireProgram } from './programs.ts'
import { mostLikely } from './sampling.ts'
import { DecodingSession } from './session.ts'
import { tinyModel } from './testing/tiny.ts'
import { ADAPTER_INDICES, generationTrace } from './trace.ts'
import './index.ts'

const STEPS = 9
const PROMPTS = [[5, 9, 2], [11, 12], [1, 2, 3, 4, 5, 6, 7, 8], [30]] // prettier-ignore

type Model = Parameters<typeof generationTrace>[0]

/** A session on a model, and greedy steps of all of its rows. */
async function begin(
  model: Model,
  {
    names,
    cacheBucket = 4,
    prefillChunk,
  }: { names?: readonly string[]; cacheBucket?: number; prefillChunk?: number } = {},
) {
  const trace = generationTrace(model, names)
  const program = await acquireProgram(model, trace, { mode: 'small' })
  const { prelude } = trace
  const session = new DecodingSession(program, {
    cacheBucket,
    prefillChunk,
    maxPositions: 128,
    padTokenId: 0,
    inputs: trace.inputs,
    cache: trace.cache,
    parameters: await trace.fed.snapshot().feeds(),
    prelude: prelude && {
      length: prelude.length,
      compute: async store => {
        using compiled = await acquireProgram(model, prelude, { mode: 'small' })
        await compiled.run(await prelude.fed.snapshot().feeds(), { store })
      },
    },
  })
  return session
}

/** The most likely tokens after a prompt, by a session of its own. */
async function alone(model: Model, prompt: readonly number[]): Promise<number[]> {
  await using session = await begin(model)
  let [logits] = await session.join([prompt])
  const tokens = []
  while (tokens.length < STEPS) {
    tokens.push(mostLikely(logits))
    ;[logits] = await session.step([tokens.at(-1)!])
  }
  return tokens
}

const models = {
  'a plain model': () => tinyModel('llama'),
  'a model with learned positions': () => tinyModel('gpt2'),
  'a sliding window': () => tinyModel('qwen2', { use_sliding_window: true, sliding_window: 5, max_window_layers: 1 }),
  'a prefix': () => {
    const config = new PrefixTuningConfig({ taskType: 'CAUSAL_LM', numVirtualTokens: 4 })
    return getPeftModel(tinyModel('llama'), config)
  },
}

describe.each(Object.entries(models))('rows of %s', (_, make) => {
  it('join between steps, leave and change places', async () => {
    const model = make()
    const expected = await Promise.all(PROMPTS.map(prompt => alone(model, prompt)))
    await using session = await begin(model)
    const found: number[][] = PROMPTS.map(() => [])
    let rows: number[] = []
    let logits: Float32Array[] = []
    const join = async (...texts: number[]) => {
      logits.push(...(await session.join(texts.map(text => PROMPTS[text]))))
      rows.push(...texts)
    }
    const step = async (count: number) => {
      for (let i = 0; i < count; i++) {
        const tokens = logits.map(mostLikely)
        for (const [row, text] of rows.entries()) found[text].push(tokens[row])
        logits = await session.step(tokens)
      }
    }
    const keep = async (...order: number[]) => {
      await session.select(order)
      rows = order.map(row => rows[row])
      logits = order.map(row => logits[row])
    }
    await join(0, 1)
    await step(3)
    await join(2)
    await step(2)
    await keep(2, 0, 1)
    await step(1)
    await keep(0, 2)
    await join(3)
    expect(session.lengths).toEqual([8 + 3, 2 + 6, 1])
    await step(3)
    await keep()
    expect(session.rows).toBe(0)
    await join(0)
    expect(session.lengths).toEqual([3])
    for (const [text, tokens] of found.entries()) {
      expect(tokens.length).toBeGreaterThan(2)
      expect(tokens).toEqual(expected[text].slice(0, tokens.length))
    }
    expect(mostLikely(logits[0])).toBe(expected[0][0])
  })

  it('leave while others join, some or all', async () => {
    const model = make()
    const next = async (...texts: number[][]) =>
      (await Promise.all(texts.map(text => alone(model, text)))).map(([token]) => token)
    await using session = await begin(model)
    await session.join([PROMPTS[0], PROMPTS[1], PROMPTS[2]])
    await session.step([7, 8, 9])
    expect((await session.join([PROMPTS[3]], {}, [2, 0])).map(mostLikely)).toEqual(await next([...PROMPTS[3]]))
    expect((await session.step([5, 6, 4])).map(mostLikely)).toEqual(
      await next([...PROMPTS[2], 9, 5], [...PROMPTS[0], 7, 6], [...PROMPTS[3], 4]),
    )
    await session.join([PROMPTS[1]], {}, [])
    expect(session.lengths).toEqual([PROMPTS[1].length])
    expect((await session.step([3])).map(mostLikely)).toEqual(await next([...PROMPTS[1], 3]))
  })

  it('are read in pieces of any size, between which others step', async () => {
    const model = make()
    const [long, short] = [PROMPTS[2], PROMPTS[1]]
    const [expected, other] = [await alone(model, long), await alone(model, short)]
    for (const prefillChunk of [1, 3, 4, 7, 100]) {
      await using session = await begin(model, { prefillChunk })
      let [logits] = await session.join([short])
      const found: number[][] = [[], []]
      await using reading = await session.read([long])
      while (!reading.isRead) {
        await reading.next()
        found[0].push(mostLikely(logits))
        ;[logits] = await session.step([found[0].at(-1)!])
      }
      let both = [logits, ...(await session.add(reading))]
      for (let i = 0; i < 4; i++) {
        const tokens = both.map(mostLikely)
        for (const [row, token] of tokens.entries()) found[row].push(token)
        both = await session.step(tokens)
      }
      expect(found[0].slice(0, STEPS)).toEqual(other.slice(0, found[0].length))
      expect(found[1]).toEqual(expected.slice(0, 4))
    }
  })

  it('of different lengths are read in pieces together', async () => {
    const model = make()
    const expected = (await Promise.all(PROMPTS.map(prompt => alone(model, prompt)))).map(tokens => tokens.slice(0, 3))
    for (const prefillChunk of [4, 11]) {
      await using session = await begin(model, { prefillChunk })
      let logits = await session.join(PROMPTS)
      const found: number[][] = PROMPTS.map(() => [])
      for (let i = 0; i < 3; i++) {
        const tokens = logits.map(mostLikely)
        for (const [row, token] of tokens.entries()) found[row].push(token)
        logits = await session.step(tokens)
      }
      expect(found).toEqual(expected)
    }
  })

  it('repeat one text, and part from each other', async () => {
    const model = make()
    await using session = await begin(model)
    await session.join([PROMPTS[0], PROMPTS[1]])
    await session.step([7, 7])
    await session.select([0, 0, 1])
    const [a, b, c] = await session.step([7, 3, 7])
    const same = await Promise.all(
      [
        [...PROMPTS[0], 7, 7],
        [...PROMPTS[0], 7, 3],
        [...PROMPTS[1], 7, 7],
      ].map(p => alone(model, p)),
    ) // prettier-ignore
    expect([a, b, c].map(mostLikely)).toEqual(same.map(tokens => tokens[0]))
  })
})

describe('rows with adapters of their own', () => {
  it('keep them when others join and leave', async () => {
    const peft = getPeftModel(
      tinyModel('llama'),
      new LoraConfig({ targetModules: ['q_proj', 'v_proj'], initLoraWeights: false }),
    )
    peft.addAdapter('other', new LoraConfig({ targetModules: ['q_proj', 'v_proj'], initLoraWeights: false }))
    peft.initialize(3)
    const names = ['default', 'other', '__base__']
    const { indices, names: order } = peft.adapterRows(names)
    const expected: Record<string, number> = {}
    for (const name of names) {
      const result = await peft.generate(PROMPTS[0], {
        adapterNames: [name],
        maxNewTokens: 4,
        mode: 'small',
        eosTokenId: null,
      })
      expected[name] = result.newTokens[0][3]
    }
    expect(new Set(Object.values(expected)).size).toBeGreaterThan(1)
    const inputOf = (name: string): Record<string, TensorData> => {
      const at = names.indexOf(name)
      return { [ADAPTER_INDICES]: { ...indices, dims: [1], data: (indices.data as BigInt64Array).slice(at, at + 1) } }
    }
    await using session = await begin(peft, { names: order })
    let logits = await session.join([PROMPTS[0]], inputOf('other'))
    for (const name of ['__base__', 'default']) logits.push(...(await session.join([PROMPTS[0]], inputOf(name))))
    await session.select([2, 0, 1])
    logits = [logits[2], logits[0], logits[1]]
    for (let i = 0; i < 3; i++) logits = await session.step(logits.map(mostLikely))
    expect(logits.map(mostLikely)).toEqual([expected.default, expected.other, expected.__base__])
  })
})

describe('prompts in pieces', () => {
  it('become rows once, when they were read', async () => {
    await using session = await begin(tinyModel('llama'), { prefillChunk: 2 })
    await using reading = await session.read([PROMPTS[0]])
    await reading.next()
    await expect(session.add(reading)).rejects.toThrow('2 of 3 positions were')
    await reading.next()
    await session.add(reading)
    await expect(session.add(reading)).rejects.toThrow('once')
    expect(session.lengths).toEqual([3])
  })

  it('are read whole where their length changes what is computed', async () => {
    const long = (type: string) => ({
      rope_parameters: {
        ...{ rope_type: type, rope_theta: 10000, factor: 2, original_max_position_embeddings: 6 },
        ...{ long_factor: [2, 2, 3, 4], short_factor: [1, 1, 1, 1] },
      },
    })
    expect(longestInPieces(tinyModel('llama'))).toBe(Number.POSITIVE_INFINITY)
    expect(longestInPieces(tinyModel('llama', { rope_parameters: { ...long('dynamic').rope_parameters } }))).toBe(128)
    const model = tinyModel('llama', long('longrope'))
    expect(longestInPieces(model)).toBe(6)
    const how = { maxNewTokens: 6, mode: 'small', eosTokenId: null } as const
    for (const prompt of [PROMPTS[2], PROMPTS[0]]) {
      const whole = await model.generate(prompt, how)
      expect((await model.generate(prompt, { ...how, prefillChunk: 2 })).newTokens).toEqual(whole.newTokens)
    }
    const gated = getPeftModel(tinyModel('llama'), new SeqBnConfig({ reductionFactor: 4, useGating: true }))
    expect(longestInPieces(gated)).toBe(0)
  })
})

describe('a session', () => {
  it('refuses tokens that are not one for each row, and rows that are not there', async () => {
    await using session = await begin(tinyModel('llama'))
    await expect(session.step([1])).rejects.toThrow('got 1 for 0')
    await session.join([PROMPTS[0]])
    await expect(session.step([1, 2])).rejects.toThrow('got 2 for 1')
    await expect(session.select([1])).rejects.toThrow('There is no row 1 among 1')
  })
})
