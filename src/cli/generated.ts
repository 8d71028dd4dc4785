/** @file Texts that models with an encoder write for rows, and how good they are. */
import type { Feature, SpeechFeature } from '../data/index.ts'
import { generate } from '../generation/index.ts'
import { characterErrorRate, exactMatch, rougeL, speechCollator, wordErrorRate } from '../training/index.ts'
import type { Output } from './output.ts'
import { startProgress } from './progress.ts'
import type { TunedModel } from './tuning.ts'

/** How texts are written. */
export interface WritingOptions {
  batchSize: number
  maxNewTokens: number
  mode: 'fast' | 'small'
  threads?: number
  keepPacked?: boolean
  /** What the decoder reads first, for a model of speech. */
  prompt?: readonly number[]
  /** Turns tokens into text. */
  decode: (ids: readonly number[]) => string
}

/** The likeliest text for each row: an answer to a text, or the transcript of a recording. */
export async function writeTexts(
  model: TunedModel,
  features: readonly (Feature | SpeechFeature)[],
  { batchSize, decode, prompt, ...options }: WritingOptions,
  output: Output,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const texts: string[] = []
  const bar = startProgress(output, { total: features.length, unit: 'texts' })
  try {
    for (let start = 0; start < features.length; start += batchSize) {
      signal?.throwIfAborted()
      const batch = features.slice(start, start + batchSize)
      const how = { ...options, doSample: false, signal }
      const { newTokens } = isSpeech(batch)
        ? await generate(model, speechOnly(batch), { ...how, decoderInputIds: prompt })
        : await model.generate(
            (batch as Feature[]).map(({ inputIds }) => inputIds),
            how,
          )
      texts.push(...newTokens.map(decode))
      bar.update(texts.length, 'writing')
    }
  } finally {
    bar.stop()
  }
  return texts
}

function isSpeech(batch: readonly (Feature | SpeechFeature)[]): batch is readonly SpeechFeature[] {
  return 'spectrogram' in batch[0]
}

function speechOnly(batch: readonly SpeechFeature[]) {
  const { input_features } = speechCollator(batch)
  return { input_features }
}

/** How good texts are: the errors of transcripts, or for other texts what they have in common with the expected ones. */
export function textMetrics(
  predictions: readonly string[],
  references: readonly string[],
  isSpoken: boolean,
): Record<string, number> {
  const exact = { eval_exact_match: exactMatch(predictions, references) }
  if (!isSpoken) return { eval_rouge_l: rougeL(predictions, references), ...exact }
  return {
    eval_wer: wordErrorRate(predictions, references),
    eval_cer: characterErrorRate(predictions, references),
    ...exact,
  }
}
