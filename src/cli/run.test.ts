import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { peft, reviews, saveTinyBert } from './testing/peft.ts'

const QWEN = {
  architectures: ['Qwen2ForCausalLM'],
  model_type: 'qwen2',
  hidden_size: 2048,
  intermediate_size: 11008,
  num_hidden_layers: 36,
  num_attention_heads: 16,
  num_key_value_heads: 2,
  vocab_size: 151936,
  max_position_embeddings: 32768,
  rms_norm_eps: 1e-6,
  rope_theta: 1e6,
  tie_word_embeddings: true,
  torch_dtype: 'bfloat16',
}

const MT0_LARGE = {
  architectures: ['MT5ForConditionalGeneration'],
  ...{ model_type: 'mt5', d_model: 1024, d_kv: 64, d_ff: 2816, num_layers: 24, num_decoder_layers: 24, num_heads: 16 },
  ...{ vocab_size: 250112, feed_forward_proj: 'gated-gelu', tie_word_embeddings: false, decoder_start_token_id: 0 },
}

const qwenFolder = () => temporaryFolder({ 'config.json': JSON.stringify(QWEN) })

describe('wrong usage ends with exit code 2', () => {
  const train = ['train', '--model', 'm', '--data', 'd.jsonl', '--task', 'seq_cls', '--output', 'o']
  it.each([
    ['no command', [], /Usage: peft/],
    ['an unknown command, naming the nearest', ['trian'], /unknown command 'trian'[\s\S]*train/],
    [
      'an unknown option, naming the nearest',
      [...train, '--ephocs', '3'],
      /no option --ephocs\. Did you mean "--epochs"/,
    ],
    ['a missing option', ['train', '--model', 'm'], /required option '--data/],
    ['a missing value', [...train, '--epochs'], /argument missing/],
    ['a missing argument', ['info'], /missing required argument 'model'/],
    ['a value out of range', [...train, '--batch-size', '0'], /whole number from 1 on/],
    ['a value that is no number', [...train, '--learning-rate', 'fast'], /number above 0/],
    ['a mistyped choice', [...train, '--scheduler', 'cosin'], /Did you mean "cosine"/],
    ['an unknown method', [...train, '--method', 'lorra'], /--method lorra is not known\. Did you mean "lora"/],
    ['an unknown option of a method', [...train, '--set', 'lora_alhpa=3'], /Did you mean "lora_alpha"/],
    ['a bad value for a method', [...train, '--set', 'lora_dropout=2'], /lora_dropout must lie in \[0, 1\)/],
    ['an assignment without =', [...train, '--set', 'r'], /--set takes key=value/],
    ['options of a method that has none', [...train, '--method', 'full', '--set', 'r=8'], /--set belongs to adapters/],
    ['two sources of evaluation', [...train, '--eval-data', 'x', '--eval-split', '0.1'], /give one/],
    ['the best of no evaluations', [...train, '--load-best'], /need --eval-data or --eval-split/],
    ['columns without =', [...train, '--columns', 'text'], /role=column pairs/],
    ['neither text nor data', ['predict', '--model', 'm'], /--text "\.\.\." or --data FILE/],
  ])('%s', async (_, argv, message) => {
    const { code, stderr, stdout } = await peft(argv)
    expect(stderr).toMatch(message)
    expect(stdout).toBe('')
    expect(code).toBe(2)
  })

  it('says so in one event with --json', async () => {
    const { code, stdout, stderr, events } = await peft([...train, '--epochs', 'many', '--json'])
    expect(code).toBe(2)
    expect(stderr).toBe('')
    expect(events()).toEqual([{ event: 'error', message: expect.stringContaining('number above 0') }])
    expect(stdout.endsWith('\n')).toBe(true)
  })
})

describe('what succeeds ends with exit code 0', () => {
  it('shows help and version on stdout', async () => {
    for (const argv of [['--help'], ['train', '--help'], ['--version']]) {
      const { code, stdout, stderr } = await peft(argv)
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(stdout).not.toBe('')
    }
  })

  it("prints PEFT's exact line for Qwen2.5-3B-Instruct from its config.json alone", async () => {
    const { code, stdout } = await peft(['info', await qwenFolder(), '--set', 'r=16', '--set', 'lora_alpha=32'])
    expect(code).toBe(0)
    expect(stdout.split('\n')).toContain(
      'trainable params: 3,686,400 || all params: 3,089,625,088 || trainable%: 0.1193',
    )
  })

  it("prints PEFT's exact line for mt0-large, whose output layer is its own, from its config.json alone", async () => {
    const folder = await temporaryFolder({ 'config.json': JSON.stringify(MT0_LARGE) })
    const line = 'trainable params: 2,359,296 || all params: 1,231,940,608 || trainable%: 0.1915'
    for (const task of [[], ['--task', 'seq_2_seq_lm']]) {
      const { code, stdout } = await peft(['info', folder, ...task])
      expect(code).toBe(0)
      expect(stdout.split('\n')).toContain(line)
      expect(stdout).toContain('on q, v (144 modules)')
    }
  }, 90_000)

  it('tells targets and the memory of a step, which follows the batch, the mode and what is kept', async () => {
    const info = async (...more: string[]) => (await peft(['info', await qwenFolder(), '--json', ...more])).result()
    const small = await info('--mode', 'small', '--batch-size', '1')
    const large = await info('--mode', 'small', '--batch-size', '4')
    const fast = await info('--mode', 'fast', '--batch-size', '1')
    const twice = await info('--mode', 'small', '--batch-size', '4', '--gradient-checkpointing')
    const packed = await info('--mode', 'small', '--batch-size', '1', '--quantize', 'nf4')
    const memory = (event: object) => (event as { memory_bytes: Record<string, number> }).memory_bytes
    expect((small.targets as string[]).length).toBe(72)
    expect(small.class).toBe('Qwen2ForCausalLM')
    expect(memory(large).activations).toBeGreaterThan(3 * memory(small).activations)
    expect(memory(twice).activations).toBeLessThan(memory(large).activations / 2)
    expect(memory(packed).weights).toBeLessThan(memory(small).weights / 2)
    expect(memory(packed).total).toBeLessThan(6e9)
    expect(memory(large).weights).toBe(memory(small).weights)
    // Every parameter once, and a few buffers.
    expect(memory(small).weights - 4 * 3_085_938_688).toBeLessThan(1e3)
    expect(memory(small).weights).toBeGreaterThanOrEqual(4 * 3_085_938_688)
    expect(memory(fast).packed).toBeGreaterThan(1.9 * memory(small).weights)
    const { total, process, weights, packed: copies, activations, masks, training_state } = memory(fast)
    expect(total).toBe(process + weights + copies + activations + masks + training_state)
  }, 90_000)

  it('counts a new head of a classifier, trained and original, as PEFT does', async () => {
    const folder = await qwenFolder()
    const { result } = await peft(['info', folder, '--task', 'seq_cls', '--labels', 'a,b,c', '--json'])
    const lora = 36 * (8 * (2048 + 2048) + 8 * (2048 + 256))
    expect(result().trainable_parameters).toBe(lora + 3 * 2048)
    expect(result().all_parameters).toBe((result().parameters as number) + lora + 3 * 2048)
  })
})

describe('colours and bars', () => {
  async function trainOn(isTTY: boolean, env: Record<string, string> = {}) {
    const folder = await temporaryFolder({ 'train.tsv': reviews(8) })
    const model = await saveTinyBert(folder)
    const train = [
      'train',
      '--model',
      model,
      '--data',
      join(folder, 'train.tsv'),
      '--task',
      'seq_cls',
      '--threads',
      '1',
    ]
    return peft([...train, '--max-steps', '4', '--output', join(folder, 'out')], { isTTY, env })
  }
  const controlSequence = '\u001b['

  it('are there on a terminal', async () => {
    const { stdout, stderr } = await trainOn(true)
    expect(stdout).toContain(`${controlSequence}32mtrained`)
    expect(stderr).toContain('━')
    expect(stderr).toMatch(/4\/4 steps {2}loss \d\.\d{4} {2}[\d,]+ tokens\/s {2}0:00 left/)
    expect(stderr).not.toMatch(/^step 4\/4 {2}loss/m)
  })

  it('are plain lines in a pipe', async () => {
    const { stdout, stderr } = await trainOn(false)
    expect(stdout + stderr).not.toContain('\u001b')
    expect(stderr).toMatch(/^step 4\/4 {2}loss \d\.\d{4} {2}lr [\d.e-]+ {2}[\d,]+ tokens\/s {2}0:00 left$/m)
  })

  it('have no colours with NO_COLOR, on a terminal too', async () => {
    const { stdout, stderr } = await trainOn(true, { NO_COLOR: '1' })
    expect(stdout).not.toContain('\u001b')
    const sequences = stderr.split(controlSequence).slice(1)
    expect(sequences.length).toBeGreaterThan(0)
    expect(sequences.filter(sequence => /^[\d;]*m/.test(sequence))).toEqual([])
  })

  it('are absent with --quiet, which leaves the result', async () => {
    const folder = await temporaryFolder({ 'train.tsv': reviews(8) })
    const model = await saveTinyBert(folder)
    const train = [
      'train',
      '--model',
      model,
      '--data',
      join(folder, 'train.tsv'),
      '--task',
      'seq_cls',
      '--threads',
      '1',
    ]
    const { stdout, stderr } = await peft([...train, '--max-steps', '2', '--output', join(folder, 'out'), '--quiet'])
    expect(stderr).toBe('')
    expect(stdout).toMatch(/^trained 2 steps/)
  })
})

describe('data that is not quite in form', () => {
  it('is read without a header, by column numbers, and cut where that is asked', async () => {
    const folder = await temporaryFolder({ 'data.csv': `good,the film was good\nbad,${'the film '.repeat(30)}\n` })
    const model = await saveTinyBert(folder)
    await writeFile(join(folder, 'x'), '')
    const { code, stderr } = await peft([
      ...['train', '--model', model, '--data', join(folder, 'data.csv'), '--no-header', '--columns', 'text=1,label=0'],
      ...[
        '--overlong',
        'truncate',
        '--task',
        'seq_cls',
        '--max-steps',
        '1',
        '--threads',
        '1',
        '--output',
        join(folder, 'out'),
      ],
    ])
    expect(stderr).toMatch(/warning: .*1 examples are longer than 32 tokens and were cut/)
    expect(code).toBe(0)
  })

  it('takes the names of the classes from a checkpoint that has a head', async () => {
    const folder = await temporaryFolder({ 'train.tsv': reviews(8, ['neg', 'pos']) })
    const model = await saveTinyBert(folder, { head: ['pos', 'neg', 'other'] })
    const { result } = await peft([
      ...['train', '--model', model, '--data', join(folder, 'train.tsv'), '--task', 'seq_cls', '--max-steps', '1'],
      ...['--threads', '1', '--output', join(folder, 'out'), '--json'],
    ])
    expect(result().labels).toEqual(['pos', 'neg', 'other'])
    expect(result().initialized_parameters).toEqual([])
  })
})
