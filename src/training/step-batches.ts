/** @file The batches of each step, those of the next one made while the engine computes. */
import type { Batch } from './collate.ts'

/** Makes the batches of steps, each once and in the order of the steps. */
export class StepBatches {
  readonly #make: (examples: readonly number[]) => Batch
  #next: { step: readonly number[][]; timer: ReturnType<typeof setTimeout>; batches?: Batch[] } | undefined

  /** @param make the batch of some examples */
  constructor(make: (examples: readonly number[]) => Batch) {
    this.#make = make
  }

  /** The batches of a step. */
  take(step: readonly number[][]): Batch[] {
    const next = this.#next
    this.cancel()
    return (next?.step === step && next.batches) || step.map(examples => this.#make(examples))
  }

  /**
   * Makes the batches of a step as soon as what is under way has reached the engine. An error waits until they are taken:
   * it belongs to that step.
   */
  prepare(step: readonly number[][]): void {
    this.cancel()
    const timer = setTimeout(() => {
      try {
        this.#next!.batches = step.map(examples => this.#make(examples))
      } catch {
        this.#next = undefined
      }
    })
    this.#next = { step, timer }
  }

  /** Forgets what was prepared. */
  cancel(): void {
    clearTimeout(this.#next?.timer)
    this.#next = undefined
  }
}
