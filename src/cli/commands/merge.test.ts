/** @file Merging into a quantised base: what is written then is no longer quantised, and that is said. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { temporaryFolder } from '../../../test/temporary.ts'
import { AutoModelForCausalLM } from '../../models/index.ts'
import { getPeftModel, LoraConfig } from '../../peft/index.ts'
import { type MemoryEntry, serializeSafetensors } from '../../weights/index.ts'
import { peft, saveTinyLlama } from '../testing/peft.ts'

/** Rewrites a model's dense layers as bitsandbytes keeps them in 8 bits. */
async function quantizeFiles(folder: string): Promise<void> {
  const model = await AutoModelForCausalLM.fromPretrained(folder)
  const tensors: MemoryEntry[] = []
  for (const [name, parameter] of model.namedParameters()) {
    const [values, { shape }] = [Float32Array.from(await parameter.read()), parameter]
    if (!name.includes('_proj')) {
      tensors.push({ name, dtype: 'F32', shape, bytes: values })
      continue
    }
    const [rows, columns] = shape
    const largest = Float32Array.from({ length: rows }, (_, row) =>
      Math.max(...values.subarray(row * columns, (row + 1) * columns).map(Math.abs)),
    )
    const codes = Int8Array.from(values, (value, i) => Math.round((127 * value) / largest[Math.floor(i / columns)]))
    tensors.push({ name, dtype: 'I8', shape, bytes: codes })
    tensors.push({ name: name.replace(/weight$/, 'SCB'), dtype: 'F32', shape: [rows], bytes: largest })
  }
  await writeFile(join(folder, 'model.safetensors'), serializeSafetensors(tensors))
  const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8'))
  const quantization_config = { quant_method: 'bitsandbytes', load_in_8bit: true }
  await writeFile(join(folder, 'config.json'), JSON.stringify({ ...config, quantization_config }))
}

it('an adapter that is merged into a quantised base: the weights are float32 then, and a warning says so', async () => {
  const folder = await temporaryFolder()
  const model = await saveTinyLlama(folder)
  const [adapter, merged] = [join(folder, 'adapter'), join(folder, 'merged')]
  const config = new LoraConfig({ r: 2, taskType: 'CAUSAL_LM', targetModules: ['q_proj'], initLoraWeights: false })
  await getPeftModel(await AutoModelForCausalLM.fromPretrained(model), config).savePretrained(adapter)
  const call = (output: string) => peft(['merge', '--model', model, '--adapter', adapter, '--output', output, '--json'])
  const warnings = ({ events }: Awaited<ReturnType<typeof call>>) => events().filter(({ event }) => event === 'warning')
  expect(warnings(await call(join(folder, 'plain')))).toEqual([])

  await quantizeFiles(model)
  const result = await call(merged)
  expect(result.code).toBe(0)
  expect(warnings(result).map(({ message }) => message)).toEqual([
    expect.stringContaining('the merged weights are dequantised and written as float32'),
  ])
  expect(await readFile(join(merged, 'config.json'), 'utf8')).not.toContain('quantization_config')
})
