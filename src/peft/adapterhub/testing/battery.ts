/** @file What is checked of every AdapterHub case: outputs, gradients, four steps of training, and the files. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { skippable } from '../../../../test/shared.ts'
import { temporaryFolder } from '../../../../test/temporary.ts'
import type { Tensor } from '../../../graph/index.ts'
import { compile } from '../../../models/function.ts'
import { worstDeviation } from '../../../models/testing/oracle.ts'
import type { Module, Parameter } from '../../../nn/index.ts'
import { floats, type TensorData } from '../../../runtime/index.ts'
import { AdamW, valueAndGrad } from '../../../training/index.ts'
import { SafetensorsFile } from '../../../weights/index.ts'
import { PeftModel } from '../../model.ts'
import { hubStateDict } from '../state-dict.ts'
import {
  caseTensors,
  completeFolder,
  forward,
  type HubCase,
  type HubGolden,
  hubCase,
  hubParameters,
  openBase,
} from './cases.ts'

/** What float32 rounds gradients by for each unit of the loss that they belong to. */
const NOISE = 1e-8

/** How a case departs from the rule. */
export interface HubCaseOptions {
  /** Opens the case; by default the one adapter of its folder, `a`. */
  open?(hub: HubCase, options: { isTrainable: boolean }): Promise<PeftModel>
  /** Parameters that AdapterHub trains and this library does not by itself, besides the head: an expression for their names. */
  frees?: RegExp
  /** Left out of what is compared with the library's own files. */
  files?: false
}

/** The single adapter of a case on its base model. */
export async function openAdapter(hub: HubCase, options: { isTrainable: boolean }): Promise<PeftModel> {
  const [[adapterName, folder]] = Object.entries(hub.golden.files)
  const path = await completeFolder(hub, folder)
  const peft = await PeftModel.fromPretrained(await openBase(hub), path, { ...options, adapterName })
  const { skip_layers: skipLayers } = hub.golden
  if (skipLayers) peft.setAdapter(adapterName, { skipLayers })
  return peft as PeftModel
}

/** Checks the cases called `names`. */
export function describeHubCases(
  names: readonly string[],
  special: Readonly<Record<string, HubCaseOptions>> = {},
): void {
  for (const name of names) {
    const hub = hubCase(name)
    const missing = !hub && 'no copy of the oracle here'
    const { open = openAdapter, frees, files } = special[name] ?? {}
    describe.skipIf(missing)(name, () => {
      it(
        skippable(
          `oracle: ${name} gives the outputs and the loss of AdapterHub, and the base’s when it is off`,
          missing,
        ),
        async () => {
          await checkOutputs(hub!, await open(hub!, { isTrainable: false }))
        },
      )
      it(skippable(`oracle: ${name} has AdapterHub’s gradients and trains as it does`, missing), async () => {
        await checkTraining(hub!, await open(hub!, { isTrainable: true }), frees)
      })
      if (files === false) return
      it(skippable(`oracle: ${name} is saved as AdapterHub saved it`, missing), async () => {
        await checkFiles(hub!, await open(hub!, { isTrainable: false }))
      })
    })
  }
}

const flat = (data: Float32Array): TensorData => ({ dtype: 'float32', dims: [data.length], data })

/** Positions that hold tokens: those of padding are arbitrary in a decoder. */
export function visible(logits: TensorData, mask: TensorData | undefined): TensorData {
  const values = floats(logits)
  if (!mask || logits.dims.length < 3 || logits.dims.slice(0, 2).join() !== mask.dims.join()) return flat(values)
  const width = logits.dims[2]
  const kept: number[] = []
  mask.data.forEach((on, i) => {
    if (Number(on) === 1) kept.push(...values.subarray(i * width, (i + 1) * width))
  })
  return flat(Float32Array.from(kept))
}

/** The logits and the loss of a model, and the logits with its adapters off. */
export async function computed(peft: PeftModel, inputs: Record<string, TensorData>) {
  await using run = await compile(peft as Module, (_, symbolic) => {
    const { logits, loss } = forward(peft, symbolic)
    peft.adapterState.disabled = true
    // Labels that were repeated for parallel adapters do not fit the base.
    const { labels, ...others } = symbolic
    const isRepeated = labels && others.input_ids && labels.shape[0] !== others.input_ids.shape[0]
    const off = forward(peft, isRepeated ? others : symbolic).logits
    peft.adapterState.disabled = false
    return { logits: logits as Tensor, loss: loss as Tensor, off: off as Tensor }
  })
  return await run(inputs)
}

/** Holds the outputs to those of the case, with the adapters on and off. */
export async function checkOutputs(hub: HubCase, peft: PeftModel): Promise<void> {
  const [inputs, out] = [caseTensors(hub, 'in.'), caseTensors(hub, 'out.')]
  const expectClose = (got: TensorData, expected: TensorData, what: string) => {
    const [a, b] = [got, expected].map(tensor => visible(tensor, inputs.attention_mask))
    expect(worstDeviation(a, b, hub.golden), what).toBeLessThanOrEqual(1)
  }
  const { logits, loss, off } = await computed(peft, inputs)
  expectClose(logits, out.logits, 'logits')
  expectClose({ ...loss, dims: [1] }, out.loss, 'loss')
  expectClose(off, out.base_logits, 'logits with the adapters off')
}

/** Holds gradients, four AdamW steps and the numbers of parameters to those of the case. */
export async function checkTraining(hub: HubCase, peft: PeftModel, frees?: RegExp): Promise<void> {
  const { golden } = hub
  const parameters = hubParameters(peft)
  const isTrained = ([, parameter]: readonly [string, Parameter]) => parameter.requiresGrad
  // AdapterHub trains the head with every adapter, here the task of an adapter decides.
  const own = new Set(peft.adapterNames().flatMap(name => [...hubStateDict(peft, name).keys()]))
  const size = (chosen: (entry: readonly [string, Parameter]) => boolean) =>
    [...new Set([...parameters].filter(chosen).map(([, parameter]) => parameter))].reduce((sum, p) => sum + p.size, 0)
  for (const name of golden.trainable_names) {
    const parameter = parameters.get(name)
    expect(parameter, name).toBeDefined()
    if (!own.has(name) || frees?.test(name)) parameter!.requiresGrad = true
  }
  expect(
    [...parameters]
      .filter(isTrained)
      .map(([name]) => name)
      .sort(),
  ).toEqual([...golden.trainable_names].sort())
  expect(peft.getNbTrainableParameters().trainable).toBe(golden.trainable)
  expect(size(entry => isTrained(entry) && own.has(entry[0]))).toBe(golden.trainable_new)
  expect(size(() => true)).toBe(golden.all)
  if (!frees) expect(closedForm(peft), 'closed form').toBe(golden.trainable_new)
  // PyTorch leaves alone what has no gradient; a gradient of zero would still let it decay.
  for (const name of golden.zero_grad) parameters.get(name)!.requiresGrad = false
  const step = await valueAndGrad(peft as Module, (_, symbolic) => forward(peft, symbolic).loss as Tensor, {
    // The reference steps were taken without dropout.
    training: false,
  })
  const { lr, betas, eps, weight_decay, steps, losses } = golden.train
  const trained = [...peft.namedParameters()].filter(isTrained)
  const beginning = new Map<Parameter, Float32Array>()
  for (const [, parameter] of trained) beginning.set(parameter, (await parameter.read()).slice())
  const createOptimizer = () => new AdamW(trained, { lr, betas, eps, weightDecay: weight_decay })
  const optimizer = createOptimizer()
  const inputs = caseTensors(hub, 'in.')
  const gradients = caseTensors(hub, 'grad.')
  for (let i = 0; i < steps; i++) {
    const { value, grads } = await step(inputs)
    expect(Math.abs(value - losses[i])).toBeLessThan(1e-4)
    for (const [name, expected] of i === 0 ? Object.entries(gradients) : []) {
      const slice = grads.parameters.slices.find(({ parameter }) => parameter === parameters.get(name))
      if (golden.zero_grad.includes(name)) continue
      const got = grads.data.subarray(slice!.offset, slice!.offset + slice!.size)
      expect(worstDeviation(flat(got), flat(floats(expected)), golden), `gradient of ${name}`).toBeLessThanOrEqual(1)
    }
    optimizer.step(grads)
  }
  let spread: Map<Parameter, Float32Array> | undefined
  /** How far the end moves when each gradient is another rounding of itself. */
  const measureSpread = async () => {
    const ends = new Map([...beginning.keys()].map(parameter => [parameter, parameter.data.slice()]))
    for (const [parameter, values] of beginning) parameter.data = values.slice()
    const again = createOptimizer()
    for (let i = 0; i < steps; i++) {
      const { grads } = await step(inputs)
      grads.data.forEach((gradient, at) => {
        grads.data[at] = gradient * (1 + (at % 2 ? 4e-7 : -4e-7)) + (at % 3 ? 1 : -1) * NOISE * Math.max(1, golden.loss)
      })
      again.step(grads)
    }
    return new Map([...ends].map(([parameter, end]) => [parameter, end.map((x, i) => Math.abs(x - parameter.data[i]))]))
  }
  const finals = new Map<string, Float32Array>()
  for (const name of Object.keys(gradients)) finals.set(name, (await parameters.get(name)!.read()).slice())
  for (const [name, expected] of Object.entries(caseTensors(hub, 'after.'))) {
    const got = finals.get(name)!
    const reference = floats(expected)
    const gradient = floats(gradients[name])
    const isStill = golden.zero_grad.includes(name)
    for (const [i, value] of reference.entries()) {
      let allowed = golden.atol + golden.rtol * Math.abs(value) + (isStill ? 0 : noiseOfSteps(gradient[i], golden))
      const difference = Math.abs(got[i] - value)
      if (difference <= allowed) continue
      // Elements whose gradient is noise take whole steps at random and change the gradients of others: then what a
      // second rounding of the same gradients does to this very element is measured.
      spread ??= await measureSpread()
      allowed += 2 * spread.get(parameters.get(name)!)![i]
      expect(difference, `${name}[${i}] after training`).toBeLessThanOrEqual(allowed)
    }
  }
  await step.dispose()
}

/** How many values the adapters of a model train, by what their methods say of the modules they stand on. */
function closedForm(peft: PeftModel): number {
  const base = peft.getBaseModel()
  const trained = peft.adapterNames().filter(name => {
    return [...hubStateDict(peft, name).values()].some(({ requiresGrad }) => requiresGrad)
  })
  return trained.reduce((total, name) => {
    const { method, config, model, targets } = peft.adapter(name)
    return total + method.about.count(config, new Map(targets.map(path => [path, base.getSubmodule(path)])), model)
  }, 0)
}

/**
 * How far rounding of a gradient can lead AdamW astray. Its first step is g / (|g| + eps), which near zero hangs on the
 * last bits of g, and below them has either sign. Its later steps are a mean of gradients over the root of their mean
 * square, which rounding moves by its share of |g| each.
 */
function noiseOfSteps(gradient: number, { loss, train: { steps, lr, eps } }: HubGolden): number {
  const noise = NOISE * Math.max(1, loss)
  const certain = Math.abs(gradient) - noise
  if (certain <= 0) return 2 * steps * lr
  const first = (eps * noise) / (certain + eps) ** 2
  return Math.min(2 * steps, steps * first + (steps - 1) * (noise / certain)) * lr
}

/** The files that are written, and whether they must be the same to the byte. */
const FILES = [
  'adapter_config.json',
  'adapter.safetensors',
  'adapter_interface.json',
  'head_config.json',
  'model_head.safetensors',
]

/** Saves the adapters of a model and holds the files to those of the case. */
export async function checkFiles(hub: HubCase, peft: PeftModel): Promise<void> {
  const { safetensors, new_not_saved } = hub.golden
  const isWhole = safetensors === 'library' && new_not_saved.length === 0
  const target = await temporaryFolder()
  await peft.savePretrained(target)
  for (const [name, folder] of Object.entries(hub.golden.files)) {
    if (!peft.adapterNames().includes(name)) continue
    const [theirs, ours] = [join(hub.folder, folder), join(target, name === 'default' ? '.' : name)]
    for (const file of FILES) {
      const [a, b] = [join(theirs, file), join(ours, file)]
      expect(existsSync(b), file).toBe(existsSync(a))
      if (!existsSync(a)) continue
      if (file.endsWith('.json')) expect(await readFile(b, 'utf8')).toBe(await readFile(a, 'utf8'))
      else if (isWhole) expect((await readFile(b)).equals(await readFile(a)), `bytes of ${file}`).toBe(true)
      else {
        const saved = await tensorsIn(b)
        for (const forgotten of new_not_saved) expect(saved.delete(forgotten), forgotten).toBe(true)
        expect(saved).toEqual(await tensorsIn(a))
      }
    }
  }
}

/** The tensors of a file, by name. */
export async function tensorsIn(path: string): Promise<Map<string, Float32Array>> {
  await using file = await SafetensorsFile.open(path)
  const result = new Map<string, Float32Array>()
  for (const name of [...file.names].sort()) result.set(name, await file.readFloat32(name))
  return result
}
