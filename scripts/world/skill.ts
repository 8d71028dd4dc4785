/** @file The skill that the base lacks and the demo teaches: a spoken order becomes a structured record. */
import { hashString, Random } from '../../src/util/random.ts'
import { COLOURS, FRUITS, NAMES, NUMBER_WORDS, plural, THINGS } from './facts.ts'

/** One order and the record it stands for. */
export interface OrderExample {
  prompt: string
  /** A space and one line of JSON with the keys item, count, colour, to. */
  completion: string
}

export interface OrderOptions {
  seed?: number
  trainSize?: number
  testSize?: number
}

interface Order {
  item: string
  count: number
  colour: string
  to: string
}

const ITEMS = [...THINGS, ...Object.keys(FRUITS)]
const MOST = 9
const TEST_SHARE = 0.3

/**
 * Draws orders for training and for testing. The two share no order under any wording, and all prompts differ.
 * @throws RangeError when more examples are asked for than there are orders.
 */
export function generateOrders({ seed = 0, trainSize = 600, testSize = 200 }: OrderOptions = {}): {
  train: OrderExample[]
  test: OrderExample[]
} {
  const random = new Random(seed)
  return {
    train: drawOrders(random.fork('order-train'), trainSize, order => !isTest(order, seed)),
    test: drawOrders(random.fork('order-test'), testSize, order => isTest(order, seed)),
  }
}

function drawOrders(random: Random, size: number, wanted: (order: Order) => boolean): OrderExample[] {
  const space = ITEMS.length * MOST * COLOURS.length * NAMES.length
  if (size > space / 8) {
    throw new RangeError(`Asked for ${size} orders in one set; the world has ${space}. Ask for at most ${space / 8}.`)
  }
  const byOrder = new Map<string, OrderExample>()
  while (byOrder.size < size) {
    const order = {
      item: random.choice(ITEMS),
      count: 1 + random.integer(MOST),
      colour: random.choice(COLOURS),
      to: random.choice(NAMES),
    }
    const record = JSON.stringify(order)
    if (byOrder.has(record) || !wanted(order)) continue
    byOrder.set(record, { prompt: random.choice(wordings(order)), completion: ` ${record}` })
  }
  return [...byOrder.values()]
}

function wordings({ item, count, colour, to }: Order): string[] {
  const goods = `${NUMBER_WORDS[count]} ${colour} ${count === 1 ? item : plural(item)}`
  return [`Order ${goods} for ${to}.`, `Send ${goods} to ${to}.`, `${to} wants ${goods}.`]
}

/** Which side of the split an order is on depends on the seed and the order alone. */
function isTest(order: Order, seed: number): boolean {
  return new Random(hashString(`${seed} ${JSON.stringify(order)}`)).uniform() < TEST_SHARE
}
