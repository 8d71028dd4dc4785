/** @file Whisper beside its reference: what is fixed, what its encoder takes, and errors. */
import { describe, expect, it } from 'vitest'
import { Graph } from '../../graph/index.ts'
import { AutoConfig, AutoModelForSpeechSeq2Seq, type WhisperForConditionalGeneration } from '../index.ts'

const build = () => {
  const config = AutoConfig.fromJSON({
    ...{ model_type: 'whisper', vocab_size: 20, d_model: 8, num_mel_bins: 4, pad_token_id: 0 },
    ...{ encoder_layers: 1, encoder_attention_heads: 2, encoder_ffn_dim: 12, max_source_positions: 3 },
    ...{ decoder_layers: 1, decoder_attention_heads: 2, decoder_ffn_dim: 12, max_target_positions: 6 },
    decoder_start_token_id: 1,
  })
  return AutoModelForSpeechSeq2Seq.fromConfig(config) as WhisperForConditionalGeneration
}

describe('Whisper', () => {
  it('has waves for positions of the encoder, which do not train', () => {
    const model = build()
    model.initialize(0)
    const { weight } = model.model.encoder.embed_positions
    // sin and cos of position * 10000 ** (-column / 3), as Transformers draws them.
    const expected = [
      ...[0, 0, 0, 0, 1, 1, 1, 1],
      ...[0.841471, 0.0464, 0.002154, 0.0001, 0.540302, 0.998923, 0.999998, 1],
    ]
    for (const [i, value] of expected.entries()) expect(weight.data[i]).toBeCloseTo(value, 5)
    const fixed = [...model.namedParameters()].filter(([, { requiresGrad }]) => !requiresGrad).map(([name]) => name)
    expect(fixed).toEqual(['model.encoder.embed_positions.weight'])
  })

  it('ties its head to the embeddings', () => {
    const { model, proj_out } = build()
    expect(proj_out.weight).toBe(model.decoder.embed_tokens.weight)
  })

  it('hears spectrograms of one length, and says so', () => {
    const graph = new Graph()
    const decoder_input_ids = graph.input('decoder_input_ids', 'int64', ['batch', 'target'])
    const short = graph.input('short', 'float32', ['batch', 4, 5])
    expect(() => build().forward({ decoder_input_ids })).toThrow(/no input_features.*\[batch, 4, 6\]/)
    expect(() => build().forward({ decoder_input_ids, input_features: short })).toThrow(
      /\[batch, 4, 5\].*WhisperFeature/,
    )
    const input_features = graph.input('features', 'float32', ['batch', 4, 6])
    expect(() => build().forward({ input_features })).toThrow(/neither decoder_input_ids nor labels/)
    const long = graph.input('long', 'int64', ['batch', 7])
    expect(() => build().forward({ input_features, decoder_input_ids: long })).toThrow(/7 positions.*made for 6/)
  })

  it('takes the result of its encoder in the place of a spectrogram', () => {
    const graph = new Graph()
    const decoder_input_ids = graph.input('decoder_input_ids', 'int64', ['batch', 'target'])
    const encoder_hidden_states = graph.input('states', 'float32', ['batch', 3, 8])
    const { logits } = build().forward({ decoder_input_ids, encoder_hidden_states })
    expect(logits?.shape).toEqual(['batch', 'target', 20])
  })
})
