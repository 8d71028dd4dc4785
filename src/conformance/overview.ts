/** @file The table of all registered methods: what each computes, costs and can do, worked out from the registry. */
import { AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification } from '../models/index.ts'
import type { Module } from '../nn/index.ts'
import { type AnyPeftConfig, getPeftMethod, getPeftModel, type PeftMethod, peftTypes } from '../peft/index.ts'

/** BERT base (110 M parameters), as a classifier with two classes. */
const bertBase = () => AutoModelForSequenceClassification.fromConfig(AutoConfig.fromJSON({ model_type: 'bert' }))

/** Llama 3.2 1B's shape. */
const llama = () =>
  AutoModelForCausalLM.fromConfig(
    AutoConfig.fromJSON({
      model_type: 'llama',
      vocab_size: 128256,
      hidden_size: 2048,
      intermediate_size: 8192,
      num_hidden_layers: 16,
      num_attention_heads: 32,
      num_key_value_heads: 8,
      head_dim: 64,
      tie_word_embeddings: true,
    }),
  )

/** The number of trained values of a method on a model, by its closed form and by counting. */
export interface ParameterCount {
  closedForm: number
  counted: number
  /** All parameters, the adapter's included. */
  all: number
}

/** The method with its default options; where it has none that stand alone, those of its example. */
export function defaultConfig(method: PeftMethod): AnyPeftConfig {
  try {
    return method.configFromJson({ peft_type: method.peftType }, 'defaults')
  } catch {
    return method.about.example()
  }
}

/** Counts what a method trains on a model; the reason, where it does not work on it. */
export function countOn(method: PeftMethod, base: Module): ParameterCount | string {
  let reason = ''
  for (const config of [() => defaultConfig(method), () => method.about.example()]) {
    try {
      const peft = getPeftModel(base, config())
      const adapter = peft.adapter('default')
      const modules = new Map(adapter.targets.map(path => [path, base.getSubmodule(path)]))
      const own = [...peft.namedParameters()].filter(([name, { requiresGrad }]) => {
        const parts = name.split('.')
        return requiresGrad && parts.includes('default') && !parts.includes('modules_to_save')
      })
      return {
        closedForm: method.about.count(adapter.config, modules, adapter.model),
        counted: own.reduce((total, [, { size }]) => total + size, 0),
        all: peft.getNbTrainableParameters().all,
      }
    } catch (error) {
      reason ||= (error as Error).message
    }
  }
  return reason
}

const number = (value: number) => value.toLocaleString('en-US')
const yes = (value: boolean) => (value ? 'yes' : '–')

/**
 * `docs/methods.md`: one row a method, and what each computes.
 *
 * @throws when a closed form differs from the count
 */
export function methodsDocument(): string {
  const [bert, decoder] = [bertBase(), llama()]
  const methods = peftTypes()
    .map(getPeftMethod)
    .sort((a, b) => (a.about.family + a.about.title < b.about.family + b.about.title ? -1 : 1))
  const counts = (method: PeftMethod, model: Module) => {
    const count = countOn(method, model)
    if (typeof count === 'string') return 'not on this model'
    if (count.closedForm !== count.counted) {
      throw new Error(`${method.peftType}: the closed form gives ${count.closedForm}, counted are ${count.counted}`)
    }
    return `${number(count.counted)} (${((100 * count.counted) / count.all).toFixed(3)} %)`
  }
  const table = methods.map(method => {
    const { about, can, peftType, layerKinds } = method
    const cells = [
      `[${about.title}](#${peftType.toLowerCase()})`,
      about.family,
      counts(method, bert),
      counts(method, decoder),
      layerKinds.join(', ') || 'the model',
      yes(can.merge),
      can.mixedBatch === 'native' ? 'yes' : can.mixedBatch === 'each' ? 'each computes all rows' : '–',
      yes(can.weightedSum),
      yes(can.convertToLora),
      yes(can.noOpAtInit),
      about.oracle ? `\`${about.oracle}\`` : '–',
    ]
    return `| ${cells.join(' | ')} |`
  })
  const sections = methods.map(({ about, peftType }) => {
    const { learningRate, options } = about.recommended
    const set = options && Object.keys(options).length ? ` with \`${JSON.stringify(options)}\`` : ''
    const presets = Object.entries(about.presets ?? {}).map(([name, preset]) => `\`${name}\` ${preset.title}`)
    const published = presets.length ? `\nBy their own names on the command line: ${presets.join('; ')}.\n` : ''
    return `## ${peftType}

${about.title}, ${about.paper}. Trains ${about.parameters}. A learning rate to begin with: ${learningRate}${set}.

    ${about.formula}
${published}`
  })
  return `# Methods

Written by \`npm run docs\` from the registry; a test holds it to it. The counts are those of the default options on
BERT base (a classifier of two classes, its head not counted) and on the shape of Llama 3.2 1B; each was counted on the
model and is equal to the method's closed form. "No change at first": a new adapter leaves the outputs as they were.
"Checked by": the case of reference results from Python that the method reproduces; all methods pass the same
conformance battery (\`src/conformance\`).

| method | family | trained on BERT base | trained on Llama 1B | works on | merges | rows of a batch | adds up | becomes LoRA | no change at first | checked by |
|---|---|---|---|---|---|---|---|---|---|---|
${table.join('\n')}

${sections.join('\n')}`
}
