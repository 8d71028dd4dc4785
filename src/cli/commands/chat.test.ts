/** @file Chats with a tiny model: commands, adapters that change while it runs, and how answers are stopped. */
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { AutoModelForCausalLM } from '../../models/index.ts'
import { getPeftModel, LoraConfig } from '../../peft/index.ts'
import { peft, saveTinyLlama } from '../testing/peft.ts'

let folder: string
let model: string
const path = (name: string) => join(folder, name)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'peft-ts-chat-'))
  model = await saveTinyLlama(folder)
  const base = await AutoModelForCausalLM.fromPretrained(model)
  for (const [seed, name] of ['legal', 'kind'].entries()) {
    const config = new LoraConfig({
      r: 2,
      taskType: 'CAUSAL_LM',
      initLoraWeights: false,
      targetModules: ['q_proj', 'v_proj'],
    })
    const adapted = getPeftModel(base, config, { seed })
    for (const [, parameter] of adapted.adapterParameters()) parameter.data.forEach((_, i, all) => void (all[i] *= 30))
    await adapted.savePretrained(path(name))
  }
})

afterAll(() => rm(folder, { recursive: true, force: true }))

/** Talks: each text is a line. */
async function chat(lines: readonly string[], more: readonly string[] = [], options: Parameters<typeof peft>[1] = {}) {
  const argv = ['chat', '--model', model, '--threads', '1', '--max-new-tokens', '5', '--json', ...more]
  const call = await peft(argv, { stdin: `${lines.join('\n')}\n`, ...options })
  const events = call.events()
  const of = (kind: string) => events.filter(({ event }) => event === kind)
  const messages = (kind: string) => of(kind).map(({ message }) => String(message))
  return {
    ...call,
    answers: of('answer'),
    texts: of('answer').map(({ content }) => content),
    told: of('chat'),
    errors: messages('error'),
    notes: messages('note'),
    warnings: messages('warning'),
  }
}

describe('peft chat', () => {
  it('quantises the base when it is told to', async () => {
    const open = vi.spyOn(AutoModelForCausalLM, 'fromPretrained')
    const { code, answers } = await chat(['hello'], ['--quantize', 'int8'])
    expect(open).toHaveBeenCalledWith(model, expect.objectContaining({ quantize: 'int8' }))
    expect({ code, answers: answers.length }).toEqual({ code: 0, answers: 1 })
    open.mockRestore()
  })

  it('answers each line, keeps the conversation and saves it in the form that training reads', async () => {
    const { code, texts, answers, result } = await chat(['hello', '//the user', `/save ${path('talk.jsonl')}`])
    expect(code).toBe(0)
    expect(result()).toMatchObject({ event: 'result', command: 'chat', turns: 2, answers: 2, failures: 0 })
    const [row, end] = (await readFile(path('talk.jsonl'), 'utf8')).split('\n')
    expect(end).toBe('')
    expect(JSON.parse(row)).toEqual({
      messages: [
        { role: 'user', content: 'hello' },
        { role: 'assistant', content: texts[0] },
        { role: 'user', content: '/the user' },
        { role: 'assistant', content: texts[1] },
      ],
    })
    const [first, second] = answers as unknown as { prompt_tokens: number; new_tokens: number; ended: string }[]
    expect(second.prompt_tokens).toBeGreaterThan(first.prompt_tokens + first.new_tokens)
    expect(first).toMatchObject({ new_tokens: 5, ended: 'length', adapter: null })
  })

  it('writes answers alone to stdout, and how fast they came to stderr', async () => {
    const argv = ['chat', '--model', model, '--threads', '1', '--max-new-tokens', '3']
    const { stdout, stderr, code } = await peft(argv, { stdin: 'hello\n/help\n' })
    const { texts } = await chat(['hello'], ['--max-new-tokens', '3'])
    expect([code, stdout]).toEqual([0, `${texts[0]}\n`])
    expect(stderr).toMatch(/3 tokens, [\d.]+ a second, \d+ of 128 positions, cut at max-new-tokens/)
    expect(stderr).toContain('/load NAME FOLDER')
    expect(stderr + stdout).not.toContain('\u001b[')
  })

  it('switches adapters while it runs', async () => {
    const one = ['--adapter', `legal=${path('legal')}`]
    const two = ['/reset', `/load kind ${path('kind')}`, '/adapters', '/adapter kind', 'hello']
    const { texts, told, answers } = await chat(['hello', ...two, '/reset', '/adapter none', 'hello', '/adapters'], one)
    const alone = await chat(['hello'])
    expect(texts[2]).toBe(alone.texts[0])
    expect(new Set(texts).size).toBe(3)
    expect(answers.map(({ adapter }) => adapter)).toEqual(['legal', 'kind', null])
    expect(told.filter(({ adapters }) => adapters)).toEqual([
      { event: 'chat', adapters: ['legal', 'kind'], adapter: 'legal' },
      { event: 'chat', adapters: ['legal', 'kind'], adapter: null },
    ])
  })

  it('takes turns back, answers again, forgets, and reads the turn of the system', async () => {
    const lines = [
      'hello',
      'world',
      '/undo',
      '/retry',
      '/system the user',
      '/retry',
      '/reset',
      'hello',
      '/system',
      '/retry',
    ]
    const { texts, answers, notes, result } = await chat(lines)
    const tokens = answers.map(({ prompt_tokens }) => Number(prompt_tokens))
    expect(tokens[1]).toBeGreaterThan(tokens[0])
    expect([texts[2], tokens[2]]).toEqual([texts[0], tokens[0]])
    expect(tokens[3]).toBeGreaterThan(tokens[0])
    expect([texts[4], tokens[4]]).toEqual([texts[3], tokens[3]])
    expect([texts[5], tokens[5]]).toEqual([texts[0], tokens[0]])
    expect(notes.filter(note => note.startsWith('The likeliest tokens are taken'))).toHaveLength(3)
    expect(result()).toMatchObject({ turns: 1, answers: 6 })
  })

  it('checks options when they are set, and draws another answer on retry with the same seeds each time', async () => {
    const lines = [
      '/set temperature=5',
      '/set max_new_tokens=8',
      'hello',
      '/retry',
      '/set',
      '/set temperature=',
      '/set',
    ]
    const [a, b] = [await chat(lines), await chat(lines)]
    expect(a.texts[0]).not.toBe(a.texts[1])
    expect(b.texts).toEqual(a.texts)
    expect(a.told.map(({ settings }) => settings).slice(-3)).toEqual([
      { maxNewTokens: 8, doSample: true, temperature: 5 },
      { maxNewTokens: 8, doSample: true },
      { maxNewTokens: 8, doSample: true },
    ])
    const wrong = await chat(['/set temprature=1', '/set temperature=-1', '/set top-k=much', '/set x', '/set seed=1'])
    expect(wrong.errors.slice(0, 4)).toEqual([
      expect.stringContaining('/set has no option "temprature". Did you mean "temperature"?'),
      expect.stringContaining('temperature is -1, expected a number above 0'),
      expect.stringContaining('top-k is much, expected a whole number'),
      expect.stringContaining('/set takes an option and its value'),
    ])
    expect(wrong.errors).toHaveLength(5)
    expect([wrong.code, wrong.errors.at(-1)]).toEqual([1, '4 of the lines failed, as said above'])
  })

  it('goes on after a mistake, and says what was wrong', async () => {
    await writeFile(path('there.txt'), 'mine')
    const lines = ['/undo', '/retry', '/save', '/adaptre', '/adapter legl', '/load x', `/load x ${path('none')}`]
    const { errors, texts, code } = await chat(
      [...lines, 'hello', `/save ${path('there.txt')}`],
      ['--adapter', path('legal')],
    )
    expect(code).toBe(1)
    expect(errors.slice(0, -1)).toEqual([
      'There is no turn to take back yet.',
      'There is no turn to take back yet.',
      'What is missing: /save FILE',
      expect.stringContaining('There is no command /adaptre. Did you mean "adapter'),
      expect.stringContaining('There is no adapter "legl". There are none, default'),
      'What is missing: /load NAME FOLDER',
      expect.any(String),
      expect.stringContaining('there.txt exists'),
    ])
    expect(texts).toHaveLength(1)
    expect(await readFile(path('there.txt'), 'utf8')).toBe('mine')
  })

  it('drops nothing of a conversation that has become too long, unless it may', async () => {
    const long = 'hello world '.repeat(9)
    const lines = [long, long, long, '/undo', long]
    const kept = await chat(lines)
    expect(kept.errors[0]).toMatch(
      /^The conversation has 1\d\d tokens, and the model takes 128 with the answer\. \/undo/,
    )
    const dropped = await chat([long, long, long, `/save ${path('long.jsonl')}`], ['--drop-oldest'])
    expect(dropped.errors).toEqual([])
    expect(dropped.warnings[0]).toContain('the oldest turn is not read any more')
    expect(JSON.parse(await readFile(path('long.jsonl'), 'utf8')).messages).toHaveLength(6)
    const alone = await chat(['hello world '.repeat(40)], ['--drop-oldest'])
    expect(alone.errors[0]).toContain('This turn alone is too long')
    const cut = await chat(['hello world '.repeat(26)], ['--max-new-tokens', '100'])
    expect(cut.answers[0].ended).toBe('context_length')
  })

  it('asks for plain text where there is no chat template', async () => {
    const plain = await saveTinyLlama(path('plain'))
    await rm(join(plain, 'chat_template.jinja'))
    const refused = await peft(['chat', '--model', plain], { stdin: 'hello\n' })
    expect(refused.code).toBe(2)
    expect(refused.stderr).toMatch(/has no chat template .* With --no-template lines are plain text/)
    const argv = ['chat', '--model', plain, '--no-template', '--max-new-tokens', '3', '--json', '--threads', '1']
    const talked = await peft(argv, { stdin: 'hello\nthe user\n' })
    const [text] = talked.events().filter(({ event }) => event === 'answer')
    const prompt = [
      'generate',
      '--model',
      plain,
      '--prompt',
      'hello',
      '--max-new-tokens',
      '3',
      '--json',
      '--threads',
      '1',
    ]
    expect(text.content).toBe((await peft(prompt)).result().text)
    const file = path('own.jinja')
    await writeFile(file, '{{ messages[0].content }}')
    const own = await peft([...argv.filter(word => word !== '--no-template'), '--template', file], { stdin: 'hello\n' })
    expect(own.events().find(({ event }) => event === 'answer')).toMatchObject({ prompt_tokens: 1 })
  })
})

describe('Ctrl-C', () => {
  it('stops the answer and not the chat, keeps what was said, and leaves when it comes twice', async () => {
    let interrupt = () => {}
    const takeInterrupts = (handler: () => void) => {
      interrupt = handler
      return () => {}
    }
    let seen = 0
    let next = () => {}
    async function* stdin() {
      yield 'hello\n'
      await new Promise<void>(resolve => (next = resolve))
      yield '/set max-new-tokens=2\nthe user\n'
      await new Promise<void>(resolve => (next = resolve))
      interrupt()
      interrupt()
      await new Promise(() => {})
    }
    const onStdout = (text: string) => {
      if (text.includes('"text"') && ++seen === 3) interrupt()
      if (text.includes('"answer"')) setTimeout(() => next(), 0)
    }
    const options = { stdin: stdin(), takeInterrupts, onStdout }
    const { code, answers, result, notes } = await chat([], ['--max-new-tokens', '90'], options)
    expect(answers.map(({ ended }) => ended)).toEqual(['stopped', 'length'])
    expect(Number(answers[0].new_tokens)).toBeLessThan(20)
    expect(answers[0].content).not.toBe('')
    expect([code, result().turns]).toEqual([0, 2])
    expect(notes.at(-1)).toContain('Press Ctrl-C again, or Ctrl-D, to leave')
  })

  it('does so as a signal to the program', async () => {
    const main = fileURLToPath(new URL('../main.ts', import.meta.url))
    const argv = [
      '--import',
      'tsx',
      main,
      'chat',
      '--model',
      model,
      '--max-new-tokens',
      '100',
      '--threads',
      '1',
      '--json',
    ]
    const child = spawn(process.execPath, argv, { stdio: ['pipe', 'pipe', 'pipe'] })
    let written = ''
    let hasStopped = false
    child.stdout.on('data', chunk => {
      written += chunk
      if (!hasStopped && written.includes('"event":"text"')) {
        hasStopped = true
        child.kill('SIGINT')
      }
      if (hasStopped && written.includes('"answer"') && !written.includes('"result"')) child.stdin.end('/quit\n')
    })
    child.stdin.write('hello\n')
    const code = await new Promise(resolve => child.on('close', resolve))
    const events = written
      .trim()
      .split('\n')
      .map(line => JSON.parse(line)) // prettier-ignore
    expect(events.find(({ event }) => event === 'answer')).toMatchObject({ ended: 'stopped' })
    expect([code, events.at(-1)]).toEqual([0, expect.objectContaining({ event: 'result', answers: 1 })])
  })
})
