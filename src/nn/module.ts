/** @file Module: the tree that models are made of, with PyTorch's names. */
import { didYouMean } from '../util/nearest.ts'
import { Random } from '../util/random.ts'
import { Parameter } from './parameter.ts'

/**
 * A node of the model tree. Own properties that hold a Module or a Parameter are its children, and the path of
 * property names to a parameter is its name in checkpoints (`bert.encoder.layer.0.attention.self.query.weight`).
 * Subclasses write `forward` on symbolic tensors; running it once traces the computation. They keep their state in ordinary
 * properties: members with a `#` do not come along when a tree is cloned.
 */
export abstract class Module {
  /** The computation, on symbolic tensors. */
  // biome-ignore lint/suspicious/noExplicitAny: every module has its own signature
  abstract forward(...inputs: any[]): unknown

  /** The modules directly below, by property name. */
  children(): [string, Module][] {
    return Object.entries(this).filter((entry): entry is [string, Module] => entry[1] instanceof Module)
  }

  /** The parameters of this module itself, by property name. */
  ownParameters(): [string, Parameter][] {
    return Object.entries(this).filter((entry): entry is [string, Parameter] => entry[1] instanceof Parameter)
  }

  /** This module and all below it, parents first, each with its path (`''` for this one). */
  *namedModules(prefix = ''): Generator<[string, Module]> {
    yield [prefix, this]
    for (const [name, child] of this.children()) yield* child.namedModules(prefix ? `${prefix}.${name}` : name)
  }

  /** Every place that holds a parameter or a buffer, tied ones at each of their names. */
  *parameterSlots(): Generator<[string, Parameter]> {
    for (const [path, module] of this.namedModules()) {
      for (const [name, parameter] of module.ownParameters()) yield [path ? `${path}.${name}` : name, parameter]
    }
  }

  /** All parameters with their names; a tied one once, under its first name. */
  *namedParameters(): Generator<[string, Parameter]> {
    for (const entry of this.namedTensors()) if (!entry[1].isBuffer) yield entry
  }

  /** All parameters and buffers with their names: what a checkpoint holds. A tied one comes once, under its first name. */
  *namedTensors(): Generator<[string, Parameter]> {
    const seen = new Set<Parameter>()
    for (const [name, parameter] of this.parameterSlots()) {
      if (seen.has(parameter)) continue
      seen.add(parameter)
      parameter.name = name
      yield [name, parameter]
    }
  }

  /** All parameters, tied ones once. */
  parameters(): Parameter[] {
    return [...this.namedParameters()].map(([, parameter]) => parameter)
  }

  /** The module at `path`. Throws when there is none, naming the nearest. */
  getSubmodule(path: string): Module {
    if (path === '') return this
    for (const [name, module] of this.namedModules()) if (name === path) return module
    const paths = [...this.namedModules()].map(([name]) => name).filter(Boolean)
    throw new Error(`There is no module "${path}".${didYouMean(path, paths)}`)
  }

  /** Puts `module` in the place at `path`. */
  setSubmodule(path: string, module: Module): void {
    const at = path.lastIndexOf('.')
    const parent = this.getSubmodule(at < 0 ? '' : path.slice(0, at))
    Object.assign(parent, { [path.slice(at + 1)]: module })
  }

  /**
   * A copy of the tree that shares all values with this one: replacing a module in one, freezing or training it, leaves
   * the other alone. Parameters and modules that stand in several places do so in the copy too.
   */
  clone(): this {
    const copies = new Map<object, unknown>()
    const copy = <T>(value: T): T => {
      if (!(value instanceof Module || value instanceof Parameter)) return value
      if (!copies.has(value))
        copies.set(value, value instanceof Parameter ? value.alias() : value.shallowCopy(copy, copies))
      return copies.get(value) as T
    }
    return copy(this)
  }

  /** A module of the same class whose properties went through `copy`; registered in `copies` before they do. */
  private shallowCopy(copy: <T>(value: T) => T, copies: Map<object, unknown>): this {
    const result = Object.create(Object.getPrototypeOf(this)) as this
    copies.set(this, result)
    for (const [key, value] of Object.entries(this)) Object.assign(result, { [key]: copy(value) })
    return result
  }

  /**
   * Gives values to the parameters and buffers that have none, each from `seed` and its own name.
   *
   * @returns the names of those parameters
   * @throws where one has no initialiser
   */
  initialize(seed = 0): string[] {
    const initialized: string[] = []
    for (const [name, parameter] of this.namedTensors()) {
      if (parameter.hasValue) continue
      if (!parameter.init) throw new Error(`The parameter "${name}" has neither values nor an initialiser`)
      parameter.data = parameter.init(Random.forName(name, seed), parameter.shape)
      if (!parameter.isBuffer) initialized.push(name)
    }
    return initialized
  }
}

/** Modules in a row, named `0`, `1`, … */
export class ModuleList<M extends Module = Module> extends Module {
  constructor(modules: readonly M[] = []) {
    super()
    for (const [i, module] of modules.entries()) Object.assign(this, { [i]: module })
  }

  /** How many there are. */
  get length(): number {
    return this.children().length
  }

  /** The module at position `index`. */
  at(index: number): M {
    return (this as unknown as Record<number, M>)[index]
  }

  *[Symbol.iterator](): Generator<M> {
    for (const [, module] of this.children()) yield module as M
  }

  /** Runs them one after another. */
  forward(x: unknown): unknown {
    for (const module of this) x = module.forward(x)
    return x
  }
}

/** Puts `value` under a name that a user chose. Throws where it would hide a method of the holder. */
function hold(holder: Module, name: string, value: Module | Parameter): void {
  if (name in holder && !Object.hasOwn(holder, name)) {
    throw new Error(
      `"${name}" cannot be a name here: ${holder.constructor.name} has a member called so; choose another`,
    )
  }
  Object.assign(holder, { [name]: value })
}

/** Modules by name. It only holds them. */
export class ModuleDict<M extends Module = Module> extends Module {
  constructor(modules: Readonly<Record<string, M>> = {}) {
    super()
    for (const [name, module] of Object.entries(modules)) this.set(name, module)
  }

  /** The module called `name`, if there is one. */
  get(name: string): M | undefined {
    return this.has(name) ? (this as unknown as Record<string, M>)[name] : undefined
  }

  /** Whether there is a module called `name`. */
  has(name: string): boolean {
    return Object.hasOwn(this, name)
  }

  /** The names. */
  keys(): string[] {
    return this.children().map(([name]) => name)
  }

  /** Adds or replaces a module. Throws for the name of one of this class's members. */
  set(name: string, module: M): void {
    hold(this, name, module)
  }

  /** Removes a module. */
  delete(name: string): void {
    delete (this as unknown as Record<string, M>)[name]
  }

  forward(): never {
    throw new Error('A ModuleDict only holds modules; call the one that is meant')
  }
}

/** Parameters by name. It only holds them. */
export class ParameterDict extends Module {
  constructor(parameters: Readonly<Record<string, Parameter>> = {}) {
    super()
    for (const [name, parameter] of Object.entries(parameters)) this.set(name, parameter)
  }

  /** The parameter called `name`, if there is one. */
  get(name: string): Parameter | undefined {
    return Object.hasOwn(this, name) ? (this as unknown as Record<string, Parameter>)[name] : undefined
  }

  /** The names. */
  keys(): string[] {
    return this.ownParameters().map(([name]) => name)
  }

  /** Adds or replaces a parameter. Throws for the name of one of this class's members. */
  set(name: string, parameter: Parameter): void {
    hold(this, name, parameter)
  }

  /** Removes a parameter. */
  delete(name: string): void {
    delete (this as unknown as Record<string, Parameter>)[name]
  }

  forward(): never {
    throw new Error('A ParameterDict only holds parameters')
  }
}
