import { afterAll, expect, it, vi } from 'vitest'
import { defaultEngine, Engine } from '../runtime/index.ts'
import { BagClassifier, bags } from './testing/models.ts'
import { Trainer } from './trainer.ts'

afterAll(async () => (await defaultEngine()).dispose())

it.each([true, false])('keepPacked: %s reaches the engine, for steps and for evaluations', async keepPacked => {
  const compile = vi.spyOn(Engine.prototype, 'compile')
  const args = { maxSteps: 1, evalStrategy: 'epoch', threads: 1, keepPacked } as const
  const [trainDataset, evalDataset] = [bags(4), bags(2)]
  await new Trainer({ model: new BagClassifier({ dropout: 0 }), trainDataset, evalDataset, args }).train()
  expect(compile.mock.calls.map(([, options]) => options?.keepPacked)).toEqual([keepPacked, keepPacked])
  compile.mockRestore()
})
