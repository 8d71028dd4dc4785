/** @file Batches of images and recordings, and training on them from TypeScript. */
import { describe, expect, it } from 'vitest'
import {
  ImageProcessor,
  prepareImages,
  prepareSpeech,
  type RgbImage,
  type Waveform,
  WhisperFeatureExtractor,
} from '../data/index.ts'
import { AutoConfig, AutoModelForImageClassification, AutoModelForSpeechSeq2Seq } from '../models/index.ts'
import { imageCollator, setTrainable, speechCollator, Trainer } from './index.ts'

const processor = new ImageProcessor({ rescaleFactor: 1 / 255, imageMean: [0.5, 0.5, 0.5], imageStd: [0.5, 0.5, 0.5] })

/** Four by four pixels of one colour, the left column brighter. */
function plain(colour: readonly number[]): RgbImage {
  const data = Uint8Array.from({ length: 48 }, (_, i) => colour[i % 3] + (Math.floor(i / 3) % 4 === 0 ? 40 : 0))
  return { width: 4, height: 4, data }
}

const rows = Array.from({ length: 8 }, (_, i) => ({
  image: plain(i % 2 ? [200, 30 + i, 20] : [20, 30 + i, 200]),
  label: i % 2 ? 'red' : 'blue',
}))

function vit() {
  const config = AutoConfig.fromJSON({
    ...{
      model_type: 'vit',
      image_size: 4,
      patch_size: 2,
      hidden_size: 8,
      num_hidden_layers: 1,
      num_attention_heads: 2,
    },
    ...{ intermediate_size: 8, hidden_dropout_prob: 0, attention_probs_dropout_prob: 0, initializer_range: 0.3 },
  })
  const model = AutoModelForImageClassification.fromConfig(config)
  model.initialize(0)
  setTrainable(model, name => name.startsWith('classifier'))
  return model
}

describe('imageCollator', () => {
  it('makes what the processor makes, and labels where there are some', async () => {
    const { features } = await prepareImages(rows, processor)
    const batch = imageCollator(features)
    expect(batch.pixel_values).toEqual(processor.process(rows.map(({ image }) => image)).pixel_values)
    expect([...batch.labels.data]).toEqual([0n, 1n, 0n, 1n, 0n, 1n, 0n, 1n])
    expect(imageCollator(features.map(({ image }) => ({ image })))).not.toHaveProperty('labels')
  })

  it('mirrors some images by seed and batch, the same ones again for the same batch', async () => {
    const { features } = await prepareImages(rows, processor, { flipSeed: 3 })
    const mirrored = (order: readonly number[]) => {
      const { data } = imageCollator(order.map(i => features[i])).pixel_values
      // The first pixel is a bright one unless left and right were exchanged.
      return order.map((_, at) => data[at * 48] < data[at * 48 + 3])
    }
    const orders = Array.from({ length: 20 }, (_, shift) => rows.map((_, i) => (i + shift) % 8))
    const drawn = orders.flatMap(mirrored)
    const share = drawn.filter(Boolean).length / drawn.length
    expect(share).toBeGreaterThan(0.35)
    expect(share).toBeLessThan(0.65)
    expect(orders.flatMap(mirrored)).toEqual(drawn)
    const other = await prepareImages(rows, processor, { flipSeed: 4 })
    expect(imageCollator(other.features)).not.toEqual(imageCollator(features))
  })

  it('refuses images of two processors', async () => {
    const [one, two] = await Promise.all([processor, new ImageProcessor({})].map(by => prepareImages(rows, by)))
    expect(() => imageCollator([one.features[0], two.features[0]])).toThrow(/different processors/)
  })
})

describe('speechCollator', () => {
  it('gives the spectrograms of the extractor, and fills labels up with -100', async () => {
    const extractor = new WhisperFeatureExtractor({ chunkLength: 1, featureSize: 4 })
    const recordings = [0.1, 0.6].map(seconds => {
      const samples = Float32Array.from({ length: 16_000 * seconds }, (_, i) => Math.sin(i / 5))
      return { samples, samplingRate: 16_000, channels: 1 } satisfies Waveform
    })
    const { features } = await prepareSpeech(
      recordings.map(audio => ({ audio })),
      extractor,
      { hasTargets: false },
    )
    expect(speechCollator(features)).toEqual(extractor.extract(recordings))
    const labelled = features.map((feature, i) => ({ ...feature, labels: [5, 6, 7].slice(i) }))
    expect(speechCollator(labelled).labels).toEqual({
      dtype: 'int64',
      dims: [2, 3],
      data: BigInt64Array.of(5n, 6n, 7n, 6n, 7n, -100n),
    })
    const shorter = new WhisperFeatureExtractor({ chunkLength: 2, featureSize: 4 })
    const other = await prepareSpeech([{ audio: recordings[0] }], shorter, { hasTargets: false })
    expect(() => speechCollator([features[0], other.features[0]])).toThrow(/4 x 100 and 4 x 200/)
  })
})

describe('Trainer', () => {
  it('trains and evaluates on images that were prepared, without a collator', async () => {
    const trainDataset = await prepareImages(rows, processor)
    const evalDataset = await prepareImages(rows, processor, { labels: trainDataset.labels })
    const args = { learningRate: 0.1, numTrainEpochs: 20, threads: 1 }
    const trainer = new Trainer({ model: vit(), trainDataset, evalDataset, args })
    await trainer.train()
    expect(await trainer.evaluate()).toMatchObject({ eval_accuracy: 1 })
    const unlabelled = await prepareImages(rows.slice(0, 2), processor, { hasTargets: false })
    const { logits } = await trainer.predict(unlabelled)
    expect(logits.map(([blue, red]) => blue > red)).toEqual([true, false])
  })

  it('refuses what the model cannot take, naming the row', async () => {
    const trainDataset = await prepareImages(rows, processor)
    const model = vit()
    const third = await prepareImages(rows, processor, { labels: ['x', 'y', 'blue', 'red'] })
    expect(() => new Trainer({ model, trainDataset: third })).toThrow(/row 0: the label 2 is not one of the model's 2/)
    const small = await prepareImages(rows, new ImageProcessor({ size: { height: 2, width: 4 } }))
    expect(() => new Trainer({ model, trainDataset: small })).toThrow(/row 0: the image comes out as 2 x 4.*4 x 4/)
    const mixed = [...trainDataset.features, { inputIds: [1], labels: 0 }]
    expect(() => new Trainer<unknown>({ model, trainDataset: mixed })).toThrow(/row 8: it is no image or recording/)
  })

  it('refuses recordings and texts that a model of speech cannot take', async () => {
    const config = AutoConfig.fromJSON({
      ...{
        model_type: 'whisper',
        vocab_size: 9,
        d_model: 8,
        num_mel_bins: 4,
        max_source_positions: 50,
        pad_token_id: 0,
      },
      ...{ encoder_layers: 1, encoder_attention_heads: 2, encoder_ffn_dim: 8, max_target_positions: 4 },
      ...{ decoder_layers: 1, decoder_attention_heads: 2, decoder_ffn_dim: 8, decoder_start_token_id: 1 },
    })
    const model = AutoModelForSpeechSeq2Seq.fromConfig(config)
    const audio: Waveform = { samples: new Float32Array(800).fill(0.1), samplingRate: 16_000, channels: 1 }
    const prepare = async (featureSize: number, labels: number[]) => {
      const extractor = new WhisperFeatureExtractor({ chunkLength: 1, featureSize })
      const { features } = await prepareSpeech([{ audio }], extractor, { hasTargets: false })
      return features.map(feature => ({ ...feature, labels }))
    }
    const told = (trainDataset: Awaited<ReturnType<typeof prepare>>) => () => new Trainer({ model, trainDataset })
    expect(told(await prepare(5, [1]))).toThrow(/row 0: its spectrogram has 5 bands and 100 frames, the model hears 4/)
    expect(told(await prepare(4, [1, 2, 3, 4, 5]))).toThrow(/its text has 5 tokens, the model says at most 4/)
    expect(told(await prepare(4, [1, 12]))).toThrow(/the token 12 is outside/)
    const images = await prepareImages(rows, processor)
    expect(() => new Trainer({ model, trainDataset: images })).toThrow(
      /it is an image, and the model takes no pixel_values/,
    )
  })
})
