/** @file The methods by the names that they have on the command line: those of the registry, and their presets. */
import { getPeftMethod, peftTypes } from '../peft/index.ts'

/** A method as `--method` names it. */
export interface NamedMethod {
  peftType: string
  /** What it is: `Houlsby adapters (arXiv 1902.00751)`. */
  title: string
  /** Its options in the names of `adapter_config.json`; those of a preset, else the defaults. */
  options: Readonly<Record<string, unknown>>
  /** Whether it is a preset of another method. */
  isPreset: boolean
}

/** Keys that say what a file is, and no options. */
const ABOUT_THE_FILE = ['peft_type', 'task_type', 'base_model_name_or_path', 'inference_mode', 'auto_mapping']

const optionsOf = (json: Readonly<Record<string, unknown>>) =>
  Object.fromEntries(Object.entries(json).filter(([key]) => !ABOUT_THE_FILE.includes(key)))

/** All methods by name. A method that means nothing without options is there through its presets alone. */
export function namedMethods(): Map<string, NamedMethod> {
  const found = new Map<string, NamedMethod>()
  for (const peftType of peftTypes()) {
    const method = getPeftMethod(peftType)
    const { title, presets = {} } = method.about
    const defaults = defaultOptions(peftType)
    if (defaults) found.set(peftType.toLowerCase(), { peftType, title, options: defaults, isPreset: false })
    for (const [name, preset] of Object.entries(presets)) {
      found.set(name, { peftType, title: preset.title, options: optionsOf(preset.create().toJSON()), isPreset: true })
    }
  }
  return found
}

/** The options of a method that was told none; undefined where it must be told some and has presets instead. */
function defaultOptions(peftType: string): Record<string, unknown> | undefined {
  const { configFromJson, about } = getPeftMethod(peftType)
  try {
    return optionsOf(configFromJson({ peft_type: peftType }, 'defaults').toJSON())
  } catch (cause) {
    if (about.presets) return undefined
    throw cause
  }
}
