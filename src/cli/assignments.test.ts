import { describe, expect, it } from 'vitest'
import { methodConfig, parseAssignments } from './assignments.ts'
import { UsageError } from './exit.ts'

describe('parseAssignments', () => {
  it.each([
    ['r=8', { r: 8 }],
    ['lora_dropout=0.1', { lora_dropout: 0.1 }],
    ['use_rslora=true', { use_rslora: true }],
    ['use_rslora=True', { use_rslora: true }],
    ['target_modules=None', { target_modules: null }],
    ['target_modules=query,value', { target_modules: ['query', 'value'] }],
    ['target_modules=query', { target_modules: ['query'] }],
    ['target_modules=all-linear', { target_modules: 'all-linear' }],
    ['target_modules=.*\\.(query|value)', { target_modules: '.*\\.(query|value)' }],
    ['target_modules=["query"]', { target_modules: ['query'] }],
    ['layers_to_transform=0,2', { layers_to_transform: [0, 2] }],
    ['layers_to_transform=1', { layers_to_transform: [1] }],
    ['rank_pattern={"query": 4}', { rank_pattern: { query: 4 } }],
    ['init_lora_weights=gaussian', { init_lora_weights: 'gaussian' }],
    ['bias=lora_only', { bias: 'lora_only' }],
    ['layersToTransform=1', { layers_to_transform: [1] }],
  ])('reads %s', (pair, expected) => {
    expect(parseAssignments([pair])).toEqual(expected)
  })

  it('refuses a key that is given twice', () => {
    expect(() => parseAssignments(['r=8', 'r=16'])).toThrow(UsageError)
  })
})

describe('methodConfig', () => {
  it('fills in the options and the task', () => {
    const config = methodConfig('lora', 'SEQ_CLS', ['r=4', 'target_modules=query,value'])
    expect(config.toJSON()).toMatchObject({
      r: 4,
      target_modules: ['query', 'value'],
      task_type: 'SEQ_CLS',
      peft_type: 'LORA',
    })
  })

  it('does not take options that the command decides', () => {
    expect(() => methodConfig('lora', null, ['task_type=CAUSAL_LM'])).toThrow(UsageError)
  })
})
