/** @file What the benchmark writes to `.cache/bench/results.json`: one section a measurement, each with its own machine. */

/** The computer and the versions that a section was measured with. */
export interface Machine {
  cpu: string
  /** Vector extensions that decide the speed, such as `avx2`. */
  features: string[]
  cores: number
  memoryGiB: number
  system: string
  /** Processes that wanted to run just before the measurement (1-minute average); far above 0 is a busy machine. */
  loadBefore: number
  /** Package name to version: ours, Node, the engine, and the peer's where it ran. */
  versions: Record<string, string>
}

/** One measurement with everything that it depends on. */
export interface Section<Row> {
  date: string
  machine: Machine
  /** Why the peer was not run, where it was not. */
  peerMissing?: string
  settings: Record<string, number>
  rows: Row[]
}

/** One process that took training steps. */
export interface StepRun {
  /** Median and minimum seconds a step, the first two steps left out. */
  seconds: number
  min: number
  peak_rss_mb: number
  /** The loss of the first step. */
  first_loss: number
  /** Seconds until the first step was done, compilation included; of ours only. */
  first_step_seconds?: number
}

/** All runs of one shape, in the order in which they were made. */
export interface StepRow {
  shape: string
  batch: number
  seq: number
  peer: StepRun[]
  fast: StepRun[]
  small: StepRun[]
  /** The small mode with layers computed again in the backward pass. */
  recomputed: StepRun[]
  /** A base in 8 bits, multiplied in 8-bit arithmetic forward and backward. */
  int8: StepRun[]
  /** As `small` and `recomputed`, the base in the 16 bits that it is published in; only of shapes that are. */
  smallHalf: StepRun[]
  recomputedHalf: StepRun[]
}

/** New tokens after prompts, on one side and in one way. */
export interface GenerationRow {
  /** `peer`, or `ours` with the mode and the form of the weights. */
  who: string
  shape: string
  batch: number
  /** New tokens of all rows by the seconds for prompt and new tokens together. */
  tokens_per_second: number
  first_token_seconds: number
  /** Seconds of the first generation, compilation included; of ours only. */
  start_seconds?: number
  peak_rss_mb: number
}

/** What a training on a task cost. The untrained base has none of the training's figures. */
export interface TaskRun {
  method: string
  seconds?: number
  peak_rss_mb: number
  trainable: number
  /** Of all parameters, the adapter's included; of ours only. */
  all?: number
  /** The size of the weights file that a user keeps; of ours only. */
  file_mb?: number
  accuracy?: number
  loss?: number
  perplexity?: number
}

/** A method, ours beside the peer's. */
export interface TaskRow {
  ours: TaskRun
  peer?: TaskRun
}

/** One pass over the data with one seed. */
export interface EpochRow extends TaskRow {
  seed: number
}

/** Batches whose rows use different adapters, and what loading and switching cost, on one side. */
export interface MixedRow {
  who: 'peer' | 'ours'
  batch: number
  seq: number
  /** Seconds a batch by the number of adapters in it; `single`: one active adapter, without a choice by rows. */
  seconds: Record<string, number>
  /** Seconds to load the first adapter, and each of the last ones. */
  first_load: number
  last_load: number
  /** Seconds of a switch with all that is needed before the next run; of the peer `set_adapter` alone. */
  switch: number
  /** The same to an adapter that was not active before, and the same without a switch; of ours only. */
  first_switch?: number
  without_switch?: number
  peak_rss_mb?: number
}

/** A step on a quantised base, with layers computed twice. */
export interface QuantizedRow {
  shape: string
  batch: number
  seq: number
  quantize: string
  seconds: number
  peak_rss_mb: number
  /** What `peft info` foretold. */
  forecast_mb: number
  first_loss: number
}

/** The test loss after the same training on one kind of base, by seeds. */
export interface QuantizedLossRow {
  quantize: string
  /** Before training. */
  first_loss: number
  losses: number[]
}

/** The file. A section that was not measured yet is absent. */
export interface Results {
  step?: Section<StepRow>
  generate?: Section<GenerationRow>
  mixed?: Section<MixedRow>
  quantized?: Section<QuantizedRow>
  quantizedLoss?: Section<QuantizedLossRow>
  epoch?: Section<EpochRow>
  sst2?: Section<TaskRow>
  wikisql?: Section<TaskRow>
}
