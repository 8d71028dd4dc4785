/** @file For a test: a program that uses the shared engine and never disposes of it. */
import { Graph, neg } from '../../graph/index.ts'
import { defaultEngine, tensorData } from '../index.ts'

const executable = await (await defaultEngine()).compile({ y: neg(new Graph().input('x', 'float32', [2])) })
const { y } = await executable.run({ x: tensorData('float32', [1, 2]) })
console.log(Array.from(y.data as Float32Array).join(' '))
