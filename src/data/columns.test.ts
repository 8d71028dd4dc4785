/** @file Tests of choosing columns by their names. */
import { describe, expect, it } from 'vitest'
import { resolveColumns } from './columns.ts'
import { Dataset } from './dataset.ts'

const withColumns = (...names: string[]) => new Dataset([Object.fromEntries(names.map(name => [name, '']))])

describe('resolveColumns for classification', () => {
  it.each([
    [['text', 'label'], { textColumn: 'text', labelColumn: 'label' }],
    [['idx', 'sentence', 'label'], { textColumn: 'sentence', labelColumn: 'label' }],
    [['Review', 'Sentiment'], { textColumn: 'Review', labelColumn: 'Sentiment' }],
    [['premise', 'hypothesis', 'label'], { textColumn: 'premise', pairColumn: 'hypothesis', labelColumn: 'label' }],
    [['question', 'sentence', 'label'], { textColumn: 'question', pairColumn: 'sentence', labelColumn: 'label' }],
    [['text', 'text_pair', 'class'], { textColumn: 'text', pairColumn: 'text_pair', labelColumn: 'class' }],
  ])('finds %j', (names, expected) => {
    expect(resolveColumns(withColumns(...names), 'SEQ_CLS')).toEqual({ task: 'SEQ_CLS', ...expected })
  })

  it('refuses to choose between several columns', () => {
    expect(() => resolveColumns(withColumns('text', 'review', 'label'), 'SEQ_CLS')).toThrow(
      /which column holds the text: "text", "review" could all be it.*Name it with textColumn/,
    )
    expect(() => resolveColumns(withColumns('text', 'label', 'class'), 'SEQ_CLS')).toThrow(
      /the label: "label", "class"/,
    )
    const twoPairs = withColumns('sentence1', 'sentence2', 'premise', 'hypothesis', 'label')
    expect(() => resolveColumns(twoPairs, 'SEQ_CLS')).toThrow('could all be it')
  })

  it('refuses when no column fits, naming the columns there are', () => {
    expect(() => resolveColumns(withColumns('a', 'label'), 'SEQ_CLS')).toThrow(
      /none of its columns is called text, .*"a", "label"/,
    )
    expect(() => resolveColumns(withColumns('text'), 'SEQ_CLS')).toThrow(/holds the label: none/)
  })
})

describe('resolveColumns for causal language modelling', () => {
  it.each([
    [['prompt', 'completion'], 'prompt-completion'],
    [['messages', 'tools'], 'messages'],
    [['conversations', 'tools', 'system'], 'conversations'],
    [['instruction', 'input', 'output'], 'alpaca'],
    [['instruction', 'output'], 'alpaca'],
    [['text'], 'text'],
  ])('finds %j', (names, format) => {
    const columns = Object.fromEntries(names.map(name => [name, name]))
    expect(resolveColumns(withColumns('id', ...names), 'CAUSAL_LM')).toEqual({ task: 'CAUSAL_LM', format, columns })
  })

  it('refuses question and answer, which only the user can assign', () => {
    expect(() => resolveColumns(withColumns('question', 'answer'), 'CAUSAL_LM')).toThrow(
      /no known format fits.*"question", "answer".*prompt: 'question', completion: 'answer'/,
    )
  })

  it('refuses to choose between formats, and tasks it does not know', () => {
    expect(() => resolveColumns(withColumns('prompt', 'completion', 'text'), 'CAUSAL_LM')).toThrow(
      'more than one format fits: prompt-completion, text',
    )
    expect(() => resolveColumns(withColumns('text'), 'TOKEN_CLS' as 'SEQ_CLS')).toThrow("not for 'TOKEN_CLS'")
  })
})
