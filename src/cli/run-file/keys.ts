/** @file The keys of a run file, worked out from the flags of `peft train`, `TrainingArguments` and the methods. */
import type { Command, Option } from 'commander'
import { TrainingArguments, type TrainingOption } from '../../training/arguments.ts'
import type { ValueKind } from '../../util/value-schema.ts'
import { DATA_GROUP, optionKind } from '../options.ts'
import { trainingOptionOf } from '../training-options.ts'

/** The part of a file that a key stands in; `run` is the file itself. */
export type Section = 'run' | 'data' | 'training'

/** One key of a run file. */
export interface RunKey extends ValueKind {
  section: Section
  name: string
  /** The flag that says the same; undefined for training options without one. */
  flag: Option | undefined
  /** The name of the value among the options of the command. */
  attribute: string
  /** The training option that it is. */
  training: TrainingOption | undefined
  /** Whether the value is a path, or may be one. */
  isPath: boolean
  /** What it means, as the flag's help says it; flags that it speaks of are called by their keys. */
  description: string | undefined
  /** The value where none is given; undefined where that depends. */
  initial: unknown
}

/** Flags of a call and not of a run. */
const OF_THE_CALL = ['json', 'quiet', 'writeRun']
/** Flags that the section `method` stands for. */
const OF_THE_METHOD = ['method', 'set']
/** Training options that concern the whole run. */
const OF_THE_RUN: readonly (string | undefined)[] = ['outputDir', 'overwriteOutputDir', 'seed']
/** Within `data` nobody has to say "data" again. */
const RENAMED: Readonly<Record<string, string>> = { data: 'train', evalData: 'eval' }
const PATHS = ['model', 'data', 'evalData', 'output']

/** All keys but those of the method, in the order in which they are written. */
export function runKeys(train: Command): RunKey[] {
  const flags = train.options.filter(({ long }) => long !== '--help').map(keyOfFlag)
  for (const key of flags) key.description = inKeys(key.description!, flags)
  const keys = flags.filter(({ attribute }) => ![...OF_THE_CALL, ...OF_THE_METHOD].includes(attribute))
  const known = keys.map(({ training }) => training)
  for (const training of TrainingArguments.optionNames()) {
    if (!known.includes(training)) keys.push(keyOfTraining(training))
  }
  return keys
}

const DEFAULTS = new TrainingArguments()

function inKeys(text: string, keys: readonly RunKey[]): string {
  return text.replace(/--[a-z-]+/g, word => {
    const key = keys.find(({ flag }) => flag?.long === word)
    return key ? keyPath(key) : word
  })
}

function keyOfFlag(flag: Option): RunKey {
  const attribute = flag.attributeName()
  const training = trainingOptionOf(attribute)
  const isData = flag.helpGroupHeading === DATA_GROUP
  const isTraining = training !== undefined && !OF_THE_RUN.includes(training)
  return {
    ...optionKind(flag),
    section: isData ? 'data' : isTraining ? 'training' : 'run',
    name: isTraining ? training : isData ? (RENAMED[attribute] ?? attribute) : attribute,
    flag,
    attribute,
    training,
    isPath: PATHS.includes(attribute),
    description: flag.negate ? `with false: ${flag.description}` : flag.description,
    initial: flag.negate ? true : flag.defaultValue,
  }
}

function keyOfTraining(training: TrainingOption): RunKey {
  const kind = TrainingArguments.optionKind(training)
  const rest = { flag: undefined, isPath: false, description: undefined, initial: DEFAULTS[training] }
  return { ...kind, ...rest, section: 'training', name: training, attribute: training, training }
}

/** `training.learningRate`, or `model`. */
export function keyPath({ section, name }: Pick<RunKey, 'section' | 'name'>): string {
  return section === 'run' ? name : `${section}.${name}`
}

/** A description as a sentence. */
export const sentence = (text: string) =>
  `${text.slice(0, 1).toUpperCase()}${text.slice(1)}${/[.)…]$/.test(text) ? '' : '.'}`
