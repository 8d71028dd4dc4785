/** @file `peft info`. */

import { resolveModelFolder } from '../../models/hub.ts'
import { AutoConfig, type ModelTask, type PreTrainedModel } from '../../models/index.ts'
import { PeftModel } from '../../peft/index.ts'
import { UsageError } from '../exit.ts'
import { formatBytes, formatCount } from '../format.ts'
import { estimateMemory } from '../memory-estimate.ts'
import type { Output } from '../output.ts'
import { AUTO_CLASSES, type DescribedTaskOption, describedTaskOf, taskOfArchitecture } from '../task.ts'
import { checkMethod, countParameters, type TunedModel, trainableLine, tune } from '../tuning.ts'

/** The options of `peft info`. */
export interface InfoOptions {
  method: string
  task?: DescribedTaskOption
  set: string[]
  labels?: string[]
  batchSize: number
  sequence: number
  mode: 'fast' | 'small'
  seed: number
}

/** The tasks whose models give scores over their vocabulary. */
const OVER_VOCABULARY: readonly ModelTask[] = ['CAUSAL_LM', 'SEQ_2_SEQ_LM', 'MASKED_LM']

/** Prints what a model is, and what a method would train of it. Only config.json is read. */
export async function info(name: string, options: InfoOptions, output: Output): Promise<void> {
  checkMethod(options.method, options.set)
  const folder = await resolveModelFolder(name, { allowPatterns: ['config.json'] })
  const given = await AutoConfig.fromPretrained(folder)
  const config = options.labels ? given.with({ id2label: options.labels }) : given
  for (const warning of config.warnings) output.warn(`${config.label}: ${warning}`)
  const task: ModelTask =
    (options.task && describedTaskOf(options.task)) ?? taskOfArchitecture(config) ?? 'FEATURE_EXTRACTION'
  if (options.labels && task !== 'SEQ_CLS') throw new UsageError('--labels belongs to --task seq_cls')
  const base = AUTO_CLASSES[task].fromConfig(config)
  const all = base.numParameters()
  const model = tune(base, options.method, options.set, options.seed)
  const counts = countParameters(model)
  const targets = targetsOf(model)
  const { batchSize, sequence, mode } = options
  const memory = estimateMemory(config, counts, {
    batchSize,
    sequence,
    mode,
    full: options.method === 'full',
    overVocabulary: OVER_VOCABULARY.includes(task),
  })
  const { bold, dim } = output.style
  output.result(
    {
      command: 'info',
      model: name,
      model_type: config.model_type,
      class: base.constructor.name,
      parameters: all,
      trainable_parameters: counts.trainable,
      all_parameters: counts.all,
      method: options.method,
      targets,
      settings: settingsOf(base),
      memory_bytes: { ...memory, batch_size: batchSize, sequence, mode },
    },
    [
      `${bold(base.constructor.name)} ${dim(`(${config.model_type})`)}  ${formatCount(all)} parameters`,
      Object.entries(settingsOf(base))
        .map(([key, value]) => `${key} ${typeof value === 'number' ? formatCount(value) : value}`)
        .join('  '),
      `method ${bold(options.method)}${targets.length ? `  ${describeTargets(targets)}` : ''}`,
      trainableLine(model),
      `memory of a training step, estimated for ${batchSize} x ${sequence} tokens, mode ${mode}: ${bold(formatBytes(memory.total))}`,
      dim(
        `  weights ${formatBytes(memory.weights)}, activations ${formatBytes(memory.activations)}, ` +
          `scores ${formatBytes(memory.scores)}, training state ${formatBytes(memory.training_state)}, process ${formatBytes(memory.process)}`,
      ),
    ],
  )
}

function targetsOf(model: TunedModel): string[] {
  return model instanceof PeftModel ? model.targetedModules() : []
}

/** `q_proj, v_proj in 72 modules`. */
function describeTargets(targets: readonly string[]): string {
  const names = [...new Set(targets.map(path => path.slice(path.lastIndexOf('.') + 1)))]
  return `on ${names.join(', ')} (${formatCount(targets.length)} modules)`
}

const SETTINGS = [
  'hidden_size',
  'intermediate_size',
  'num_hidden_layers',
  'num_decoder_layers',
  'decoder_layers',
  'num_attention_heads',
  'num_key_value_heads',
  'vocab_size',
  'max_position_embeddings',
  'tie_word_embeddings',
  'dtype',
]

/** The numbers that make the architecture, as far as the configuration has them. */
function settingsOf({ config }: PreTrainedModel): Record<string, unknown> {
  const values = config as unknown as Record<string, unknown>
  return Object.fromEntries(
    SETTINGS.filter(key => values[key] !== undefined && values[key] !== null).map(key => [key, values[key]]),
  )
}
