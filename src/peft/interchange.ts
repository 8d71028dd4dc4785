/** @file Adapters that can stand in each other's place: they compute the same function of their parameters' values. */
import { Module, ModuleDict, type Parameter, ParameterDict } from '../nn/index.ts'
import type { InjectedAdapter } from './inject.ts'

/** What an adapter computes, and with which parameters. */
export interface AdapterForm {
  /** Equal for two adapters of one model that can stand in each other's place. */
  key: string
  /** Its parameters; those of another adapter of the same key stand at the same positions. */
  parameters: readonly Parameter[]
}

/** The form of an adapter; undefined where its method does not say that others can take its place. */
export function formOf(adapter: InjectedAdapter): AdapterForm | undefined {
  const { adapterName, layers, method, restore, saved, shared } = adapter
  const options = method.tracedOptions?.(adapter)
  if (options === undefined || restore || Object.keys(shared).length) return undefined
  const numbers = new Map<Parameter, number>()
  const described: unknown[] = [method.peftType, options]
  const describe = (name: string, parameter: Parameter) => {
    // One that stands in several places must do so in the other adapter too.
    const known = numbers.get(parameter)
    if (known === undefined) numbers.set(parameter, numbers.size)
    described.push(name, known ?? parameter.shape)
  }
  for (const [path, layer] of layers) {
    described.push(path, layer.constructor.name)
    for (const [name, parameter] of parametersIn(layer, adapterName)) describe(name, parameter)
    for (const parameter of layer.valuesBeside(adapterName)) describe('', parameter)
  }
  for (const [path, wrapper] of saved) {
    described.push(path)
    for (const [name, parameter] of wrapper.modules_to_save.get(adapterName)?.namedTensors() ?? [])
      describe(name, parameter)
  }
  return { key: JSON.stringify(described), parameters: [...numbers.keys()] }
}

/** The parameters of an adapter in a layer's dictionaries, by their names without the adapter's. */
function* parametersIn(layer: Module, adapterName: string): Generator<[string, Parameter]> {
  for (const [property, dictionary] of layer.children()) {
    if (dictionary instanceof ParameterDict) {
      const parameter = dictionary.get(adapterName)
      if (parameter) yield [property, parameter]
    } else if (dictionary instanceof ModuleDict) {
      const module = dictionary.get(adapterName)
      if (module instanceof Module)
        for (const [name, parameter] of module.namedTensors()) yield [`${property}.${name}`, parameter]
    }
  }
}
