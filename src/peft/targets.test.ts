/** @file Choosing target modules, and what is said when a choice matches nothing. */
import { describe, expect, it } from 'vitest'
import { relu, type Tensor } from '../graph/index.ts'
import { Conv1D, Embedding, Linear, Module, ModuleList } from '../nn/index.ts'
import { resolveTargets } from './targets.ts'

class Block extends Module {
  q_proj = new Linear(4, 4)
  v_proj = new Linear(4, 4)
  experts = new ModuleList([new Linear(4, 4), new Linear(4, 4)])
  forward(x: Tensor) {
    return relu(this.v_proj.forward(this.q_proj.forward(x)))
  }
}

class Net extends Module {
  embed_tokens = new Embedding(7, 4)
  layers = new ModuleList([new Block(), new Block(), new Block()])
  mix = new Conv1D(4, 4)
  lm_head = new Linear(4, 7)
  forward(x: Tensor) {
    return x
  }
}

const resolve = (targets: string | string[], options = {}, strict = true) =>
  resolveTargets(new Net(), targets, options, { outputModules: ['lm_head'], strict })

describe('target modules', () => {
  it('are those whose path ends with a name of the list', () => {
    expect(resolve(['q_proj'])).toEqual(['layers.0.q_proj', 'layers.1.q_proj', 'layers.2.q_proj'])
    expect(resolve(['layers.1.v_proj', 'mix'])).toEqual(['layers.1.v_proj', 'mix'])
  })

  it('are not those whose name merely ends in the same letters', () => {
    expect(() => resolve(['proj'])).toThrow(/no module is called "proj"/)
  })

  it('are those whose whole path matches an expression, in Python spelling too', () => {
    expect(resolve('layers\\.[12]\\.(q|v)_proj')).toHaveLength(4)
    expect(resolve('.*\\.(?P<which>q)_proj')).toHaveLength(3)
    expect(() => resolve('q_proj')).toThrow(/matches no module/)
    expect(() => resolve('(')).toThrow(/not a valid regular expression/)
  })

  it('are every dense layer but the output under all-linear', () => {
    const paths = resolve('all-linear')
    expect(paths).toContain('mix')
    expect(paths).toContain('layers.2.experts.1')
    expect(paths).not.toContain('lm_head')
    expect(paths).not.toContain('embed_tokens')
    expect(paths).toHaveLength(13)
  })

  it('leave out excluded modules and those that are trained as a whole', () => {
    expect(resolve('all-linear', { excludeModules: ['q_proj'] })).toHaveLength(10)
    expect(resolve('all-linear', { excludeModules: 'layers\\.0\\..*' })).toHaveLength(9)
    expect(resolve('all-linear', { modulesToSave: ['experts'] })).toHaveLength(7)
    expect(() => resolve(['mix'], { excludeModules: ['mix'] })).toThrow(/All 1 target modules are excluded/)
  })

  it('keep to the layers asked for, counting by the first number of a path', () => {
    expect(resolve(['q_proj', '1'], { layersToTransform: [0, 2] })).toEqual([
      'layers.0.q_proj',
      'layers.0.experts.1',
      'layers.2.q_proj',
      'layers.2.experts.1',
    ])
    expect(resolve(['v_proj'], { layersToTransform: 1, layersPattern: 'layers' })).toEqual(['layers.1.v_proj'])
    expect(() => resolve(['v_proj'], { layersToTransform: [9] })).toThrow(/within layersToTransform \[9\]/)
  })

  it('suggest the nearest name for a wrong one, also when other names match', () => {
    expect(() => resolve(['q_proj', 'v_porj'])).toThrow(/no module is called "v_porj"\. Did you mean "v_proj"/)
  })

  it('may name modules that do not exist in a file of Python', () => {
    expect(resolve(['q_proj', 'v_porj'], {}, false)).toHaveLength(3)
  })
})
