/** @file Loading a checkpoint into a model: every parameter gets its place in a file. Node only. */
import { Conv1D, type Parameter } from '../nn/index.ts'
import { type QuantizedFile, readQuantized } from '../quantization/index.ts'
import { didYouMean } from '../util/nearest.ts'
import { Checkpoint, convertedToFloat32, isFloatDtype, type TensorInfo } from '../weights/index.ts'
import { findJoined, matchNames } from './checkpoint-names.ts'
import { AutoConfig, type ConfigOverrides, type PretrainedConfig } from './config.ts'
import { resolveModelFolder } from './hub.ts'
import type { FromPretrainedOptions, ModelClass, PreTrainedModel } from './pretrained-model.ts'
import { giveQuantized, planQuantization, requestedQuantization } from './quantize.ts'
import { untieDifferentCopies } from './tied.ts'

const LISTED = 12
const warned = new Set<string>()

/** Prints a warning, each text once a process. */
function printOnce(message: string): void {
  if (warned.has(message)) return
  warned.add(message)
  console.warn(message)
}

/** Builds a model of `modelClass` from a folder or hub id; see `PreTrainedModel.fromPretrained`. */
export async function loadPretrained<T extends PreTrainedModel>(
  modelClass: ModelClass<T>,
  folderOrHubId: string,
  options: FromPretrainedOptions,
): Promise<T> {
  const { config: given, numLabels, id2label, label2id, seed = 0, onWarning: warn = printOnce, ...rest } = options
  const { ignoreMismatchedSizes = false, conversionCacheDir, quantize, quantizationConfig, ...hubOptions } = rest
  const folder = await resolveModelFolder(folderOrHubId, hubOptions)
  const config = withLabels(given ?? (await AutoConfig.fromPretrained(folder)), { numLabels, id2label, label2id })
  const quantization = requestedQuantization({ quantize, quantizationConfig })
  if (quantization && config.quantization_config) refuseTwice(config)
  for (const warning of config.warnings) warn(`${config.label}: ${warning}`)

  const model = modelClass.fromConfig(config)
  model.nameOrPath = folderOrHubId
  await using checkpoint = await Checkpoint.open(folder)
  const joined = findJoined(model, checkpoint)
  const packed = config.quantization_config
    ? await readQuantized(checkpoint, config.quantization_config, config.label, {
        cacheDir: conversionCacheDir,
        joined: [...joined.values()],
      })
    : undefined
  if (packed) refusePackedParts(model, packed)
  const parts = new Set([...joined.values()].flatMap(tensor => tensor.parts))
  const names = packed
    ? [...packed.layouts.keys(), ...packed.others]
    : [...checkpoint.names.filter(name => !parts.has(name)), ...joined.keys()]
  const { keyOf, unexpected } = matchNames(model, names)
  await untieDifferentCopies(model, keyOf, checkpoint, warn)
  const turned = transposedParameters(model)
  const infoOf = (key: string, parameter: Parameter): Pick<TensorInfo, 'shape' | 'dtype' | 'path'> => {
    if (!packed?.layouts.has(key)) return joined.get(key) ?? checkpoint.info(key)
    const [rows, columns] = packed.shape(key)
    return { shape: turned.has(parameter) ? [columns, rows] : [rows, columns], dtype: 'F32', path: checkpoint.paths[0] }
  }
  const assignments = assign(model, keyOf, checkpoint, infoOf, ignoreMismatchedSizes)

  if (packed) {
    for (const { parameter, key } of assignments) {
      if (packed.layouts.has(key)) parameter.quantized = packed.tensor(key, turned.has(parameter))
      else parameter.source = packed.source(key)
    }
  } else if (quantization) {
    const plan = planQuantization(model, quantization)
    await giveQuantized(assignments, checkpoint, plan, { cacheDir: conversionCacheDir, joined })
    if (plan.misfits.length) {
      warn(
        `${config.label}: ${plan.misfits.length} weights fit no block and stay in float32: ${plan.misfits.join(', ')}.`,
      )
    }
  } else {
    const floats = await convertedToFloat32(checkpoint, { cacheDir: conversionCacheDir, joined: [...joined.values()] })
    try {
      for (const { parameter, key } of assignments) parameter.source = floats.source(key)
    } finally {
      await floats.close()
    }
  }
  model.missingParameters = model.initialize(seed)
  model.unexpectedParameters = unexpected
  report(model, folderOrHubId, seed, warn)
  return model
}

function withLabels(
  config: PretrainedConfig,
  { numLabels, id2label, label2id }: Pick<FromPretrainedOptions, 'numLabels' | 'id2label' | 'label2id'>,
): PretrainedConfig {
  const overrides: ConfigOverrides = {}
  if (numLabels !== undefined) overrides.num_labels = numLabels
  if (id2label !== undefined) overrides.id2label = id2label
  if (label2id !== undefined) overrides.label2id = label2id
  return Object.keys(overrides).length ? config.with(overrides) : config
}

function refuseTwice(config: PretrainedConfig): never {
  const method = config.quantization_config?.quant_method ?? 'an unnamed method'
  throw new Error(
    `${config.label}: the weights are quantised by ${method} already; load them without quantize and ` +
      'quantizationConfig, or take the publication of the model in float32, float16 or bfloat16.',
  )
}

/** The weights that are stored the other way round than those of a dense layer. */
function transposedParameters(model: PreTrainedModel): Set<Parameter> {
  const found = [...model.namedModules()].flatMap(([, module]) => (module instanceof Conv1D ? [module.weight] : []))
  return new Set(found)
}

function refusePackedParts(model: PreTrainedModel, { layouts }: QuantizedFile): void {
  for (const name of layouts.keys()) {
    if (!model.partOf(model.currentName(name))) continue
    throw new Error(
      `${model.config.label}: "${name}" is a quantised part of a larger tensor (an expert), which is not read; ` +
        'take the publication of the model in float32, float16 or bfloat16.',
    )
  }
}

/** Which tensor each parameter takes. Throws where a shape or a type does not fit, or where nothing fits at all. */
function assign(
  model: PreTrainedModel,
  keyOf: ReadonlyMap<string, string>,
  checkpoint: Checkpoint,
  infoOf: (key: string, parameter: Parameter) => Pick<TensorInfo, 'shape' | 'dtype' | 'path'>,
  ignoreMismatchedSizes: boolean,
): { parameter: Parameter; key: string }[] {
  const keys = new Map<Parameter, { name: string; key: string }>()
  for (const [name, parameter] of model.parameterSlots()) {
    const key = keyOf.get(name)
    if (key !== undefined && !keys.has(parameter)) keys.set(parameter, { name, key })
  }
  if (keys.size === 0) throw new Error(explainNothingFits(model, checkpoint))
  const result: { parameter: Parameter; key: string }[] = []
  for (const [parameter, { name, key }] of keys) {
    const { shape, dtype, path } = infoOf(key, parameter)
    if (shape.join() !== parameter.shape.join()) {
      if (ignoreMismatchedSizes) continue
      throw new Error(
        `${path}: tensor "${key}" has shape [${shape.join(', ')}], the parameter "${name}" of ` +
          `${model.constructor.name} has [${parameter.shape.join(', ')}]. ${wayOut(model, name, parameter, shape)}`,
      )
    }
    if (!isFloatDtype(dtype)) {
      throw new Error(
        `${path}: tensor "${key}" holds ${dtype}, expected a floating-point type for the parameter "${name}"; ` +
          'a quantised checkpoint says so in config.json (quantization_config).',
      )
    }
    result.push({ parameter, key })
  }
  return result
}

function wayOut(model: PreTrainedModel, name: string, parameter: Parameter, shape: readonly number[]): string {
  const inHead = model.baseModel !== model && !name.startsWith(`${model.baseModelPrefix}.`)
  const sameButLabels = shape.slice(1).join() === parameter.shape.slice(1).join()
  if (model.task === 'SEQ_CLS' && inHead && sameButLabels) {
    return (
      `The checkpoint's head was made for ${shape[0]} labels and numLabels is ${parameter.shape[0]}: ` +
      `set numLabels to ${shape[0]}, or pass ignoreMismatchedSizes: true to start the head anew.`
    )
  }
  return (
    'The configuration does not describe these weights: take both from the same publication, or pass ' +
    'ignoreMismatchedSizes: true to start the parameter anew.'
  )
}

function explainNothingFits(model: PreTrainedModel, checkpoint: Checkpoint): string {
  const names = [...model.parameterSlots()].map(([name]) => name)
  const found = checkpoint.names[0]
  return (
    `${checkpoint.paths[0]}: none of its ${checkpoint.names.length} tensors belongs to ${model.constructor.name}. ` +
    `The file has names like "${found}", the model expects names like "${names[0]}".${didYouMean(found ?? '', names)}`
  )
}

function report(model: PreTrainedModel, origin: string, seed: number, warn: (message: string) => void): void {
  const { missingParameters: missing, unexpectedParameters: unexpected } = model
  const name = model.constructor.name
  if (missing.length) {
    warn(
      `${origin} does not hold ${missing.length} parameters of ${name}, which were drawn from seed ${seed}: ` +
        `${list(missing, 'missingParameters')}. Train the model before you use it.`,
    )
  }
  if (unexpected.length) {
    warn(
      `${origin} holds ${unexpected.length} tensors that ${name} has no place for: ${list(unexpected, 'unexpectedParameters')}.`,
    )
  }
}

function list(names: readonly string[], property: string): string {
  const rest = names.length - LISTED
  return names.slice(0, LISTED).join(', ') + (rest > 0 ? ` and ${rest} more (model.${property})` : '')
}
