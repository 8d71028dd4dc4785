/** @file Samples: what the model says to a few examples that it does not learn from, evaluation after evaluation. */
import { type Feature, IGNORE_INDEX, type TokenizedDataset, type Tokenizer } from '../data/index.ts'
import { type GenerativeModel, generate, releaseGeneration } from '../generation/index.ts'
import { argmax, bestSpan, type EvaluationLog, type Predictions, type TrainableModel } from '../training/index.ts'
import type { Sample, SamplesEvent } from './events.ts'

/** Samples of one training. */
export interface Samples {
  /** Takes the scores of an evaluation. */
  consider(predictions: Predictions & { step: number }): void
  /** The samples at an evaluation, made once however often they are asked for; undefined where there are none. */
  at(log: EvaluationLog): Promise<SamplesEvent | undefined>
}

/** Options of {@link trainingSamples}. */
export interface SampleOptions {
  model: TrainableModel
  tokenizer: Tokenizer
  /** The evaluation data, as the Trainer has it. */
  data: TokenizedDataset | readonly Feature[]
  /** How many examples, spread evenly over the data; by default 3 texts that are generated, or 8 predictions. */
  count?: number
  /** The longest generated text in tokens (48). */
  maxNewTokens?: number
  threads?: number
  /** Takes why samples could not be made, which does not end the training; by default printed to the error output. */
  onWarning?: (message: string) => void
}

/** The most tokens of a plain text that are its beginning, which the model continues. */
const LONGEST_BEGINNING = 16

/**
 * What a model says to a few examples of the evaluation data: language models continue or answer them, classifiers,
 * taggers and models that find answers predict (from the scores that the evaluation makes anyway).
 *
 * @example
 * const samples = trainingSamples({ model, tokenizer, data: evalDataset })
 * const callbacks = [metricsFile('out', { samples }), tensorBoard('out', { samples })]
 */
export function trainingSamples(options: SampleOptions): Samples {
  const { model, data, onWarning = console.warn } = options
  const features = 'features' in data ? data.features : data
  const generates = model.task === 'CAUSAL_LM' || model.task === 'SEQ_2_SEQ_LM'
  const chosen = spread(features.length, options.count ?? (generates ? 3 : 8))
  let scores: { step: number; logits: Float32Array[] } | undefined
  let failed = false

  const make = async ({ step }: EvaluationLog): Promise<SamplesEvent | undefined> => {
    if (failed) return undefined
    try {
      const examples = chosen.map(i => features[i])
      const samples = generates
        ? await generated(examples, options)
        : scores?.step === step
          ? chosen.map(i => predicted(features[i], scores!.logits[i], options))
          : []
      if (samples.length === 0) return undefined
      const kind = generates ? 'generation' : 'prediction'
      return { event: 'samples', time: new Date().toISOString(), step, kind, samples }
    } catch (error) {
      failed = true
      onWarning(`Samples could not be made, the training goes on without them: ${(error as Error).message}`)
      return undefined
    }
  }
  const made = new WeakMap<EvaluationLog, Promise<SamplesEvent | undefined>>()
  return {
    consider({ step, logits }) {
      scores = { step, logits }
    },
    at(log) {
      if (!made.has(log)) made.set(log, make(log))
      return made.get(log)!
    },
  }
}

/** `count` positions of `length`, evenly apart. */
function spread(length: number, count: number): number[] {
  const taken = Math.min(length, count)
  return Array.from({ length: taken }, (_, i) => Math.floor(((i + 0.5) * length) / taken))
}

async function generated(
  features: readonly Feature[],
  { model, tokenizer, threads, maxNewTokens = 48 }: SampleOptions,
): Promise<Sample[]> {
  const prompts = features.map(feature =>
    model.task === 'SEQ_2_SEQ_LM'
      ? { prompt: feature.inputIds, target: learnt(feature) }
      : promptOf(feature, tokenizer),
  )
  const generator = model as TrainableModel & GenerativeModel
  try {
    const inputs = prompts.map(({ prompt }) => prompt)
    // Small, and freed afterwards: the training's own memory is what counts.
    const { newTokens } = await generate(generator, inputs, { maxNewTokens, mode: 'small', threads })
    const text = (tokens: readonly number[]) => tokenizer.decode(tokens, { skipSpecialTokens: true })
    return prompts.map(({ prompt, target }, i) => ({
      input: text(prompt),
      expected: text(target),
      output: text(newTokens[i]),
    }))
  } finally {
    await releaseGeneration(generator)
  }
}

const learnt = ({ labels }: Feature) => (labels as number[]).filter(label => label !== IGNORE_INDEX)

/** What stands before the first learnt token, and the learnt tokens up to the next gap; a plain text is cut in two. */
function promptOf({ inputIds, labels }: Feature, tokenizer: Tokenizer): { prompt: number[]; target: number[] } {
  const learns = (labels as number[]).map(label => label !== IGNORE_INDEX)
  const first = learns.indexOf(true)
  const prompt = inputIds.slice(0, first)
  if (tokenizer.decode(prompt, { skipSpecialTokens: true }).trim() !== '') {
    const end = learns.indexOf(false, first)
    return { prompt, target: inputIds.slice(first, end < 0 ? undefined : end) }
  }
  const cut = Math.max(1, Math.min(LONGEST_BEGINNING, inputIds.length >> 1))
  return { prompt: inputIds.slice(0, cut), target: inputIds.slice(cut) }
}

/** What scores say to an example. */
function predicted(feature: Feature, scores: Float32Array, { model, tokenizer }: SampleOptions): Sample {
  const { inputIds, labels, contextTokens } = feature
  const text = (tokens: readonly number[]) => tokenizer.decode(tokens, { skipSpecialTokens: true })
  const { id2label = {} } = (model.config ?? {}) as { id2label?: Record<number, string> }
  const name = (label: number) => id2label[label] ?? String(label)
  const input = text(inputIds)
  if (model.task === 'QUESTION_ANS') {
    const answer = ([first, last]: readonly number[]) =>
      contextTokens && first < contextTokens[0] ? '' : text(inputIds.slice(first, last + 1))
    return { input, expected: answer(labels as number[]), output: answer(bestSpan(scores, contextTokens)) }
  }
  if (model.task === 'TOKEN_CLS') {
    const classes = scores.length / inputIds.length
    const tags = (of: (at: number) => number) =>
      (labels as number[])
        .flatMap((label, at) => (label === IGNORE_INDEX ? [] : [`${text([inputIds[at]])}/${name(of(at))}`]))
        .join(' ')
    return {
      input,
      expected: tags(at => (labels as number[])[at]),
      output: tags(at => argmax(scores.subarray(at * classes, (at + 1) * classes))),
    }
  }
  const best = argmax(scores)
  const confidence = 1 / scores.reduce((sum, score) => sum + Math.exp(score - scores[best]), 0)
  return { input, expected: name(labels as number), output: name(best), confidence }
}
