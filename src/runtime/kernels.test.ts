/** @file Kernels chosen by measuring, with clocks and measurements that are made up. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { chooseProducts, type Engine, KernelStore, type KernelTimes, MEASURED_ROWS, measureKernels } from './index.ts'

const times = (rows: number, dequantized: number, integer: number): KernelTimes => ({
  rows,
  float32: dequantized,
  dequantized,
  integer,
  blocks: 1,
})
const [fast, slow] = [[times(512, 2, 1)], [times(512, 1, 2)]]

describe('the choice', () => {
  it('goes by the most rows, whatever few rows say', () => {
    expect(chooseProducts([times(1, 1, 9), times(512, 2, 1)])).toBe('int8')
    expect(chooseProducts([times(512, 1, 2), times(1, 9, 1)])).toBe('exact')
  })

  it('stays exact where 8 bits gain less than a tenth, or nothing was measured', () => {
    expect(chooseProducts([times(512, 1.05, 1)])).toBe('exact')
    expect(chooseProducts([])).toBe('exact')
  })
})

describe('measuring', () => {
  it('takes the best of several rounds in turn', async () => {
    let clock = 0
    let runs = 0
    const disposed: string[] = []
    // A product takes 10 ms, in 8 bits 5; the first round of all is disturbed.
    const engine = {
      compile: async (_: unknown, { quantizedProducts }: { quantizedProducts?: string }) => ({
        run: async () => {
          clock += (quantizedProducts === 'int8' ? 5 : 10) + (runs++ < 4 ? 100 : 0)
          return {}
        },
        dispose: async () => void disposed.push(String(quantizedProducts)),
      }),
    }
    const found = await measureKernels(engine as unknown as Engine, 1, () => clock)
    expect(found.map(({ rows }) => rows)).toEqual(MEASURED_ROWS)
    expect(found[0]).toEqual({ rows: 1, float32: 0.01, dequantized: 0.01, integer: 0.005, blocks: 0.01 })
    expect(disposed).toHaveLength(4)
  })
})

describe('what was measured', () => {
  const store = (folder: string, machine = 'this', env = {}) => new KernelStore({ folder, machine, env })
  const never = () => Promise.reject(new Error('It was measured again'))

  it('is kept, so that the same machine chooses the same', async () => {
    const folder = await temporaryFolder({})
    expect((await store(folder).choice(async () => fast, 2)).products).toBe('int8')
    expect(await store(folder).choice(never, 2)).toEqual({ products: 'int8', times: fast })
  })

  it('belongs to a machine and a number of threads', async () => {
    const folder = await temporaryFolder({})
    await store(folder).choice(async () => fast, 2)
    expect((await store(folder, 'other').choice(async () => slow, 2)).products).toBe('exact')
    expect((await store(folder).choice(async () => slow, 1)).products).toBe('exact')
    expect((await store(folder).choice(never, 2)).products).toBe('int8')
  })

  it('gives way to what another process kept meanwhile', async () => {
    const folder = await temporaryFolder({})
    const choice = await store(folder).choice(async () => {
      await store(folder).choice(async () => slow, 2)
      return fast
    }, 2)
    expect(choice.products).toBe('exact')
  })

  it('is measured once for all that ask at the same time, and again after a failure', async () => {
    const own = store(await temporaryFolder({}))
    await expect(own.choice(never, 2)).rejects.toThrow('measured again')
    let count = 0
    const measure = async () => {
      count++
      return fast
    }
    await Promise.all([own.choice(measure, 2), own.choice(measure, 2)])
    expect(count).toBe(1)
  })

  it.each([
    '',
    '{',
    '{"version":1,"machines":{"this, 2 threads":{"products":"fastest"}}}',
    '{"version":0,"machines":{}}',
  ])('is made again where the file says %j', async text => {
    const folder = await temporaryFolder({})
    await writeFile(join(folder, 'kernels.json'), text)
    expect((await store(folder).choice(async () => fast, 2)).products).toBe('int8')
    expect(await readFile(join(folder, 'kernels.json'), 'utf8')).toContain('"int8"')
  })

  it('is used all the same where it cannot be kept, with a warning', async () => {
    const folder = await temporaryFolder({ file: new Uint8Array() })
    const problems: string[] = []
    const own = new KernelStore({
      folder: join(folder, 'file'),
      machine: 'this',
      env: {},
      onProblem: problem => problems.push(problem),
    })
    expect((await own.choice(async () => fast, 2)).products).toBe('int8')
    expect(problems).toHaveLength(1)
    expect(problems[0]).toContain('cannot be kept')
  })

  it('does not matter where PEFT_TS_KERNELS decides', async () => {
    const folder = await temporaryFolder({})
    await store(folder).choice(async () => fast, 2)
    expect(await store(folder, 'this', { PEFT_TS_KERNELS: 'exact' }).choice(never, 2)).toEqual({
      products: 'exact',
      times: [],
    })
    await expect(store(folder, 'this', { PEFT_TS_KERNELS: 'exakt' }).choice(never, 2)).rejects.toThrow(
      'PEFT_TS_KERNELS is "exakt", expected exact or int8. Did you mean "exact"?',
    )
  })
})
