/** @file What a comparison finds out. */
import type { MethodSettings } from './settings.ts'

/** One method, trained and measured. */
export interface MethodResult extends MethodSettings {
  /** The higher the better: the share of right classes, or of right tokens given those before. */
  score: number
  /** The share of prompts answered letter by letter as they should be; undefined where there are none. */
  exact?: number
  /** The loss on the evaluation data. */
  loss: number
  trainableParameters: number
  allParameters: number
  /** Seconds of training, from the first step to the last. */
  seconds: number
  /** The largest amount of memory of the process that trained, in bytes. */
  peakMemoryBytes: number
  /** The size of what is saved, in bytes. */
  fileBytes: number
  /** What is lost of what the base could do; undefined where nothing was given to measure it by. */
  forgotten: Forgetting | undefined
  steps: number
}

/** What the base could do before, and what is left of it with the adapter on. */
export interface Forgetting {
  /** What was measured: exact answers (a share), or the loss a token. */
  measure: 'exact' | 'loss' | 'masked loss'
  before: number
  after: number
  /** The share of exact answers that were lost, or the loss a token that was added; 0 when nothing is forgotten. */
  lost: number
}

/** A method that could not be compared, with the reason. */
export interface FailedMethod extends MethodSettings {
  error: string
}

/** A whole comparison, as it is written to `compare.json`. */
export interface Comparison {
  model: string
  data: string
  task: string
  /** What `score` counts. */
  measure: 'accuracy' | 'token accuracy'
  /** The score of knowing nothing: that of the largest class, or of the base before training. */
  chance: number
  trainExamples: number
  evalExamples: number
  settings: Readonly<Record<string, unknown>>
  date: string
  machine: string
  results: MethodResult[]
  failed: FailedMethod[]
}

/** The results that no other beats in both score and number of parameters, by number of parameters. */
export function paretoFront(
  results: readonly Pick<MethodResult, 'score' | 'trainableParameters' | 'method'>[],
): string[] {
  const sorted = [...results].sort((a, b) => a.trainableParameters - b.trainableParameters || b.score - a.score)
  const front: string[] = []
  let best = Number.NEGATIVE_INFINITY
  for (const { method, score } of sorted) {
    if (score <= best) continue
    best = score
    front.push(method)
  }
  return front
}
