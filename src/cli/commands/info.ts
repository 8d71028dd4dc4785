/** @file `peft info`. */

import { resolveModelFolder } from '../../models/hub.ts'
import { AutoConfig, type ModelTask, type PreTrainedModel } from '../../models/index.ts'
import { plannedBytes, planQuantization, type QuantizationPlan } from '../../models/quantize.ts'
import { PeftModel } from '../../peft/index.ts'
import { QuantizedTensor, type QuantizeName, quantizationOf, sizesOf } from '../../quantization/index.ts'
import { type ForecastModel, forecastStep } from '../../training/index.ts'
import { UsageError } from '../exit.ts'
import { formatBytes, formatCount } from '../format.ts'
import type { Output } from '../output.ts'
import { AUTO_CLASSES, type DescribedTaskOption, describedTaskOf, taskOfArchitecture } from '../task.ts'
import { checkMethod, countParameters, refuseQuantized, type TunedModel, trainableLine, tune } from '../tuning.ts'

/** The options of `peft info`. */
export interface InfoOptions {
  method: string
  task?: DescribedTaskOption
  set: string[]
  labels?: string[]
  batchSize: number
  sequence: number
  mode: 'fast' | 'small'
  gradientCheckpointing: boolean
  quantize?: QuantizeName
  seed: number
}

/** Prints what a model is, and what a method would train of it. Only config.json is read. */
export async function info(name: string, options: InfoOptions, output: Output): Promise<void> {
  checkMethod(options.method, options.set)
  refuseQuantized(options.method, options.quantize !== undefined)
  const folder = await resolveModelFolder(name, { allowPatterns: ['config.json'] })
  const given = await AutoConfig.fromPretrained(folder)
  const config = options.labels ? given.with({ id2label: options.labels }) : given
  for (const warning of config.warnings) output.warn(`${config.label}: ${warning}`)
  const task: ModelTask =
    (options.task && describedTaskOf(options.task)) ?? taskOfArchitecture(config) ?? 'FEATURE_EXTRACTION'
  if (options.labels && task !== 'SEQ_CLS') throw new UsageError('--labels belongs to --task seq_cls')
  const base = AUTO_CLASSES[task].fromConfig(config)
  const all = base.numParameters()
  const { batchSize, sequence, mode, gradientCheckpointing } = options
  const plan = options.quantize ? planQuantization(base, quantizationOf(options.quantize)) : undefined
  const quantizedBytes = plan && plannedBytes(base, plan)
  if (plan) packWithoutValues(plan)
  const model = tune(base, options.method, options.set, options.seed)
  const counts = countParameters(model)
  const targets = targetsOf(model)
  const memory = forecastStep(model as unknown as ForecastModel, {
    batchSize,
    sequence,
    mode,
    gradientCheckpointing,
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
      ...(options.quantize && { quantize: options.quantize, base_bytes: quantizedBytes }),
      memory_bytes: {
        ...memory,
        batch_size: batchSize,
        sequence,
        mode,
        gradient_checkpointing: gradientCheckpointing,
      },
    },
    [
      `${bold(base.constructor.name)} ${dim(`(${config.model_type})`)}  ${formatCount(all)} parameters`,
      Object.entries(settingsOf(base))
        .map(([key, value]) => `${key} ${typeof value === 'number' ? formatCount(value) : value}`)
        .join('  '),
      `method ${bold(options.method)}${targets.length ? `  ${describeTargets(targets)}` : ''}`,
      trainableLine(model),
      ...(quantizedBytes === undefined
        ? []
        : [
            `base model in ${options.quantize}: ${bold(formatBytes(quantizedBytes))}, in float32 ${formatBytes(4 * all)}`,
          ]),
      `peak memory of a training step of ${batchSize} x ${sequence} tokens, mode ${mode}${gradientCheckpointing ? ', gradient checkpointing' : ''}: ${bold(formatBytes(memory.total))}`,
      dim(
        `  ${Object.entries(memory)
          .filter(([name, bytes]) => name !== 'total' && bytes > 0)
          .map(([name, bytes]) => `${name.replaceAll('_', ' ')} ${formatBytes(bytes)}`)
          .join(', ')}`,
      ),
    ],
  )
}

/** Gives weights the packed form that they would have, of which only the sizes are read. */
function packWithoutValues({ packings }: QuantizationPlan): void {
  for (const [parameter, { layout }] of packings) {
    const byteLength = sizesOf(layout).totalBytes
    const source = { kind: 'file', path: '', offset: 0, byteLength, dtype: 'U8', shape: [byteLength] } as const
    parameter.quantized = new QuantizedTensor(parameter.name, layout, source)
  }
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
