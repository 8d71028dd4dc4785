/** @file The files of assets/orders, by name. */
import { generateOrders } from './skill.ts'
import { generateWorld } from './world.ts'

const OLD_EXAMPLES = 200
const OLD_QUESTIONS = 200

interface Row {
  prompt: string
  completion: string
}

const lines = (rows: readonly Row[]) =>
  rows.map(({ prompt, completion }) => `${JSON.stringify({ prompt, completion })}\n`).join('')

/** Orders to learn, mixed with examples of old skills; orders to be tested on; questions of old skills. */
export function orderFiles(): Record<string, string> {
  const world = generateWorld({ seed: 0 })
  const orders = generateOrders({ seed: 0, trainSize: 600, testSize: 200 })
  return {
    'train.jsonl': lines([...orders.train, ...world.train.slice(0, OLD_EXAMPLES)]),
    'test.jsonl': lines(orders.test),
    'old-questions.jsonl': lines(world.heldOut.slice(0, OLD_QUESTIONS)),
  }
}
