/** @file The scheduler, over a batch that only counts. */
import { describe, expect, it } from 'vitest'
import type { RowEvent, RowRequest, RowSettings } from './backend.ts'
import { type Batch, Scheduler, type SchedulerOptions } from './scheduler.ts'

const settings = { stop: [] } as unknown as RowSettings

/** A row that wants `tokens` tokens. */
const row = (tokens: number, model = 'a', prompt = 1): RowRequest => ({
  model,
  prompt: Array<number>(prompt).fill(0),
  settings: { ...settings, maxNewTokens: tokens },
  choice: 0,
})

/** How many positions of a prompt the batches read at a time. */
const PIECE = 40

/** A scheduler whose rows count from 1 to the number of tokens they want, and what its batches were told. */
function counting(options: Partial<SchedulerOptions> = {}) {
  const log: string[] = []
  let [release, held] = [() => {}, Promise.resolve()]
  const open = async (lane: string): Promise<Batch> => {
    log.push(`open ${lane}`)
    let rows = 0
    const logits = async (count: number) => {
      await held
      // As an engine answers: not before other things had their turn.
      await new Promise(resolve => setImmediate(resolve))
      return Array.from({ length: count }, () => new Float32Array(1))
    }
    return {
      async read(joining) {
        await held
        let left = Math.max(...joining.map(({ prompt }) => prompt.length))
        return {
          async next() {
            await logits(0)
            left -= PIECE
            if (left > 0) log.push('piece')
            return left <= 0
          },
          join(kept) {
            rows = kept.length + joining.length
            log.push(`join ${joining.length}`)
            return logits(joining.length)
          },
          async drop() {
            log.push(`drop ${joining.length}`)
          },
        }
      },
      step(tokens) {
        expect(tokens).toHaveLength(rows)
        log.push(`step ${rows}`)
        return logits(rows)
      },
      async select(kept) {
        rows = kept.length
        log.push(`select ${kept.join()}`)
      },
      async close() {
        log.push(`close ${lane}`)
      },
    }
  }
  const choose = ({ settings: { maxNewTokens } }: RowRequest) => {
    let token = 0
    return { next: () => ({ token: ++token, finished: token === maxNewTokens ? ('length' as const) : undefined }) }
  }
  const scheduler = new Scheduler({
    ...{ laneOf: model => model, open, choose, maxBatch: 4, maxQueue: 4, maxPrefill: 100 },
    ...options,
  })
  return {
    scheduler,
    log,
    hold: () => void (held = new Promise(resolve => (release = resolve))),
    release: () => release(),
  }
}

async function collect(events: AsyncIterable<RowEvent>): Promise<string> {
  const tokens: string[] = []
  for await (const { row, token } of events) tokens.push(`${row}:${token}`)
  return tokens.join(' ')
}

const logits = () => new Float32Array(1)
/** Prompts that are read in one piece. */
const reading = (join: () => Promise<Float32Array[]>) => ({ next: async () => true, join, drop: async () => {} })

const turn = () => new Promise(resolve => setTimeout(resolve, 5))

describe('the scheduler', () => {
  it('computes rows of one request together, and ends when all have ended', async () => {
    const { scheduler, log } = counting()
    expect(await collect(scheduler.submit([row(1), row(3)]))).toBe('0:1 1:1 1:2 1:3')
    await scheduler.close()
    expect(log).toEqual(['open a', 'join 2', 'select 1', 'step 1', 'step 1', 'select ', 'close a'])
  })

  it('lets a request join between two steps', async () => {
    const { scheduler, log, hold, release } = counting()
    hold()
    const first = collect(scheduler.submit([row(4)]))
    await turn()
    const second = collect(scheduler.submit([row(2)]))
    release()
    expect(await Promise.all([first, second])).toEqual(['0:1 0:2 0:3 0:4', '0:1 0:2'])
    expect(log.filter(entry => entry.startsWith('join'))).toEqual(['join 1', 'join 1'])
    expect(log).toContain('step 2')
    await scheduler.close()
  })

  it('fills places in the order of arrival, and never computes more rows than it may', async () => {
    const { scheduler, log } = counting({ maxBatch: 2, maxQueue: 10 })
    const ended: number[] = []
    const jobs = [3, 3, 3, 3, 3].map(async (tokens, i) => {
      await collect(scheduler.submit([row(tokens)]))
      ended.push(i)
    })
    expect(scheduler.load).toEqual({ active: 0, queued: 5, maxBatch: 2, maxQueue: 10 })
    await Promise.all(jobs)
    expect(ended).toEqual([0, 1, 2, 3, 4])
    expect(log.some(entry => entry === 'step 3')).toBe(false)
    await scheduler.close()
  })

  it('follows one lane by the other without overtaking', async () => {
    const { scheduler, log } = counting()
    const ended: string[] = []
    const ask = async (name: string, request: RowRequest) => {
      await collect(scheduler.submit([request]))
      ended.push(name)
    }
    await Promise.all([ask('a1', row(2, 'a')), ask('b1', row(2, 'b')), ask('a2', row(2, 'a'))])
    expect(ended).toEqual(['a1', 'b1', 'a2'])
    expect(log.filter(entry => /open|close/.test(entry))).toEqual(['open a', 'close a', 'open b', 'close b', 'open a'])
    await scheduler.close()
  })

  it('reads long prompts in portions', async () => {
    const { scheduler, log } = counting({ maxPrefill: 10 })
    await Promise.all([4, 5, 1, 30].map(length => collect(scheduler.submit([row(1, 'a', length)]))))
    expect(log.filter(entry => entry.startsWith('join'))).toEqual(['join 2', 'join 1', 'join 1'])
    await scheduler.close()
  })

  it('lets rows step between the pieces of a long prompt', async () => {
    const { scheduler, log } = counting()
    const first = collect(scheduler.submit([row(9)]))
    const second = collect(scheduler.submit([row(1, 'a', 3 * PIECE)]))
    expect(await Promise.all([first, second])).toEqual(['0:1 0:2 0:3 0:4 0:5 0:6 0:7 0:8 0:9', '0:1'])
    expect(log.join()).toContain('piece,step 1,piece,step 1,join 1')
    await scheduler.close()
  })

  it('reads no further when nobody waits for it, or it fails, and the others go on', async () => {
    const { scheduler, log } = counting()
    const gone = new AbortController()
    const first = collect(scheduler.submit([row(2000)]))
    const second = collect(scheduler.submit([row(1, 'a', 10_000 * PIECE)], gone.signal))
    for (let turns = 0; turns < 100 && scheduler.load.active < 2; turns++) await turn()
    expect(scheduler.load.active).toBe(2)
    gone.abort()
    expect(await second).toBe('')
    expect((await first).split(' ')).toHaveLength(2000)
    expect(log).toContain('drop 1')
    expect(log.filter(entry => entry === 'piece').length).toBeLessThan(9000)
    await scheduler.close()
  })

  it('ends rows whose prompts are about to be read when it closes', async () => {
    const { scheduler, hold, release } = counting()
    hold()
    const asked = collect(scheduler.submit([row(5)]))
    const refused = expect(asked).rejects.toMatchObject({ code: 'shutting_down' })
    await turn()
    expect(scheduler.load).toMatchObject({ active: 1, queued: 0 })
    const closed = scheduler.close()
    await turn()
    release()
    await refused
    await closed
  })

  it('tells the rows whose prompt cannot be read, and no others', async () => {
    const next = async () => Promise.reject(new Error('no memory'))
    const { scheduler } = counting({
      open: async () => ({
        read: async ([{ prompt }]) => {
          const whole = reading(async () => [logits()])
          return prompt.length > 1 ? { ...whole, next } : whole
        },
        step: async tokens => {
          await turn()
          return tokens.map(logits)
        },
        select: async () => {},
        close: async () => {},
      }),
    })
    const first = collect(scheduler.submit([row(5)]))
    await turn()
    await expect(collect(scheduler.submit([row(1, 'a', 2)]))).rejects.toThrow('no memory')
    expect(await first).toBe('0:1 0:2 0:3 0:4 0:5')
    await scheduler.close()
  })

  it('refuses what has no place, and says when to come back', async () => {
    const { scheduler } = counting({ maxBatch: 1, maxQueue: 1 })
    const [first, second] = [scheduler.submit([row(1)]), scheduler.submit([row(1)])]
    expect(() => scheduler.submit([row(1)])).toThrow(
      expect.objectContaining({ status: 429, headers: { 'retry-after': '1' } }),
    )
    expect(() => scheduler.submit([row(1), row(1), row(1)])).toThrow(expect.objectContaining({ status: 400 }))
    await Promise.all([collect(first), collect(second)])
    expect(await collect(scheduler.submit([row(1)]))).toBe('0:1')
    await scheduler.close()
  })

  it('frees the places of a client that goes away, waiting or computed', async () => {
    const { scheduler, hold, release } = counting({ maxBatch: 1 })
    hold()
    const [gone, goneToo] = [new AbortController(), new AbortController()]
    const first = collect(scheduler.submit([row(1000)], gone.signal))
    const second = collect(scheduler.submit([row(1000)], goneToo.signal))
    await turn()
    expect(scheduler.load).toMatchObject({ active: 1, queued: 1 })
    goneToo.abort()
    expect(scheduler.load).toMatchObject({ active: 1, queued: 0 })
    gone.abort()
    release()
    expect(await Promise.all([first, second])).toEqual(['', ''])
    expect(await collect(scheduler.submit([row(1)]))).toBe('0:1')
    expect(scheduler.load).toMatchObject({ active: 0, queued: 0 })
    await scheduler.close()
  })

  it('frees the place of a reader that leaves its loop', async () => {
    const { scheduler } = counting({ maxBatch: 1 })
    for await (const { token } of scheduler.submit([row(1e9)])) if (token === 3) break
    expect(await collect(scheduler.submit([row(2)]))).toBe('0:1 0:2')
    await scheduler.close()
  })

  it('tells the rows of a batch that fails, and goes on with the next', async () => {
    let failures = 1
    const { scheduler } = counting({
      open: async () => ({
        read: async () => reading(async () => (failures-- > 0 ? Promise.reject(new Error('no memory')) : [logits()])),
        step: async () => [],
        select: async () => {},
        close: async () => {},
      }),
    })
    await expect(collect(scheduler.submit([row(1)]))).rejects.toThrow('no memory')
    expect(await collect(scheduler.submit([row(1)]))).toBe('0:1')
    await scheduler.close()
  })

  it('tells only the first of those that wait when a batch cannot be opened', async () => {
    let failures = 1
    const { scheduler } = counting({
      open: async () => {
        if (failures-- > 0) throw new Error('cannot be compiled')
        return {
          read: async rows => reading(async () => rows.map(logits)),
          step: async () => [],
          select: async () => {},
          close: async () => {},
        }
      },
    })
    const [first, second] = [collect(scheduler.submit([row(1)])), collect(scheduler.submit([row(1)]))]
    await expect(first).rejects.toThrow('cannot be compiled')
    expect(await second).toBe('0:1')
    await scheduler.close()
  })

  it('tells one row alone when its token cannot be chosen', async () => {
    const { scheduler } = counting({
      choose: ({ prompt }) => ({
        next() {
          if (prompt.length === 2) throw new Error('no finite logits')
          return { token: 7, finished: 'eos' as const }
        },
      }),
    })
    const [wrong, right] = [collect(scheduler.submit([row(1, 'a', 2)])), collect(scheduler.submit([row(1)]))]
    await expect(wrong).rejects.toThrow('no finite logits')
    expect(await right).toBe('0:7')
    await scheduler.close()
  })

  it('lets answers end within the grace, and takes no more', async () => {
    const { scheduler } = counting()
    const answer = collect(scheduler.submit([row(3)]))
    const closed = scheduler.close(10_000)
    expect(() => scheduler.submit([row(1)])).toThrow(expect.objectContaining({ status: 503 }))
    expect(await answer).toBe('0:1 0:2 0:3')
    await closed
  })

  it('ends answers that take longer', async () => {
    const { scheduler } = counting({ choose: () => ({ next: () => ({ token: 1 }) }) })
    const answer = collect(scheduler.submit([row(1)]))
    const closed = scheduler.close(5)
    await expect(answer).rejects.toThrow('shutting down')
    await closed
  })
})
