/** @file Reading generation_config.json. */
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { GenerationConfig } from './index.ts'

const read = async (json: unknown) =>
  GenerationConfig.fromPretrained(await temporaryFolder({ 'generation_config.json': JSON.stringify(json) }))

describe('GenerationConfig.fromPretrained', () => {
  it('gives the options that a chat model is published with', async () => {
    const config = await read({
      bos_token_id: 151643,
      pad_token_id: 151643,
      do_sample: true,
      eos_token_id: [151645, 151643],
      repetition_penalty: 1.05,
      temperature: 0.7,
      top_p: 0.8,
      top_k: 20,
      max_new_tokens: 256,
      transformers_version: '4.37.0',
    })
    expect(config).toEqual({
      ...{ padTokenId: 151643, eosTokenId: [151645, 151643], doSample: true, repetitionPenalty: 1.05 },
      ...{ temperature: 0.7, topP: 0.8, topK: 20, maxNewTokens: 256 },
    })
  })

  it('gives the tokens that a decoder behind an encoder begins and ends with', async () => {
    const tokens = { decoder_start_token_id: 2, forced_bos_token_id: 0, forced_eos_token_id: 2 }
    expect(await read(tokens)).toEqual({ decoderStartTokenId: 2, forcedBosTokenId: 0, forcedEosTokenId: 2 })
    await expect(read({ forced_eos_token_id: [2, 3] })).rejects.toThrow(/"forced_eos_token_id" is \[2,3\]/)
  })

  it('gives the tokens that are not chosen', async () => {
    const config = await read({ suppress_tokens: [3, 4], begin_suppress_tokens: [220] })
    expect(config).toEqual({ suppressTokens: [3, 4], beginSuppressTokens: [220] })
  })

  it('is empty where there is no file, and where it says nothing', async () => {
    expect(await GenerationConfig.fromPretrained(await temporaryFolder())).toEqual({})
    expect(await read({ top_k: null, num_beam_groups: 1, eos_token_id: null, use_cache: true })).toEqual({})
  })

  it('gives what a model of summaries is published with', async () => {
    const summaries = {
      ...{ _from_model_config: true, bos_token_id: 0, decoder_start_token_id: 2, eos_token_id: 2, pad_token_id: 1 },
      ...{ early_stopping: true, forced_bos_token_id: 0, forced_eos_token_id: 2, length_penalty: 2.0 },
      ...{ max_length: 142, min_length: 56, no_repeat_ngram_size: 3, num_beams: 4 },
    }
    expect(await read(summaries)).toEqual({
      ...{ decoderStartTokenId: 2, eosTokenId: 2, padTokenId: 1, earlyStopping: true, forcedBosTokenId: 0 },
      ...{ forcedEosTokenId: 2, lengthPenalty: 2, maxLength: 142, minLength: 56, noRepeatNgramSize: 3, numBeams: 4 },
    })
  })

  it('refuses what is not computed, and values of the wrong kind, naming the file', async () => {
    await expect(read({ num_beam_groups: 4 })).rejects.toThrow(
      /generation_config\.json: "num_beam_groups" is 4.*expected 1, since it is not computed/,
    )
    await expect(read({ penalty_alpha: 0.6 })).rejects.toThrow(/"penalty_alpha".*the option generationConfig/)
    await expect(read({ bad_words_ids: [3] })).rejects.toThrow(/"bad_words_ids".*a list of lists of tokens/)
    await expect(read({ early_stopping: 'soon' })).rejects.toThrow(/"early_stopping" is "soon".*true, false or 'never'/)
    await expect(read({ suppress_tokens: [-1] })).rejects.toThrow(/"suppress_tokens" is \[-1\].*a list of tokens/)
    await expect(read({ temperature: 'hot' })).rejects.toThrow(/"temperature" is "hot"/)
    await expect(read([1])).rejects.toThrow(/expected a JSON object/)
    const broken = await temporaryFolder({ 'generation_config.json': '{' })
    await expect(GenerationConfig.fromPretrained(broken)).rejects.toThrow(/could not be read.*Repair the file/)
  })

  it('may say a temperature of 0 where it does not draw', async () => {
    expect(await read({ temperature: 0, do_sample: false })).toEqual({ temperature: 0, doSample: false })
  })
})
