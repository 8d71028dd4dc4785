/** @file `TrainingArguments` and the flags of `peft train`: which is which, said once. */
import { TrainingArguments, type TrainingOption } from '../training/arguments.ts'

/** Training options whose flags are called otherwise, by the names of the flags; all others are called alike. */
const RENAMED: Partial<Record<TrainingOption, string>> = {
  outputDir: 'output',
  overwriteOutputDir: 'overwrite',
  numTrainEpochs: 'epochs',
  perDeviceTrainBatchSize: 'batchSize',
  perDeviceEvalBatchSize: 'evalBatchSize',
  gradientAccumulationSteps: 'gradientAccumulation',
  lrSchedulerType: 'scheduler',
  optim: 'optimizer',
  loadBestModelAtEnd: 'loadBest',
  metricForBestModel: 'metric',
}

/** The name of the flag that a training option has, where it has one; in camelCase. */
export function flagOf(option: TrainingOption): string {
  return RENAMED[option] ?? option
}

/** The training option that a flag sets. */
export function trainingOptionOf(flag: string): TrainingOption | undefined {
  return TrainingArguments.optionNames().find(name => flagOf(name) === flag)
}

/** The training options among the options of a command, under their own names. */
export function trainingOptionsOf(options: object): Partial<Record<TrainingOption, unknown>> {
  const given = TrainingArguments.optionNames()
    .map(name => [name, (options as Record<string, unknown>)[flagOf(name)]] as const)
    .filter(([, value]) => value !== undefined)
  return Object.fromEntries(given)
}
