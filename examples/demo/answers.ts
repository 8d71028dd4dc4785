/** @file Asking a model the questions of the world, many at once, and counting right answers. */
import type { GenerateOptions, GenerateResult, Tokenizer } from 'peft-ts'

/** A question with its only right answer, as the generators of the world write them. */
export interface Question {
  prompt: string
  completion: string
}

/** What `askAll` needs of a model; models and models with adapters both have it. */
export interface Answerer {
  generate(prompts: readonly (readonly number[])[], options?: GenerateOptions): Promise<GenerateResult>
}

/** One answer: its tokens, and the text that they stand for. */
export interface Answer {
  tokens: readonly number[]
  text: string
}

/** Questions that are answered in one run of the model. */
const BATCH = 100

/** The longest answer in tokens; an order's record has about 20. */
const MAX_NEW_TOKENS = 32

/** One thread, whatever the machine has: the model is so small that more of them would wait for each other. */
export const THREADS = 1

/** Answers questions greedily, in their order. */
export async function askAll(
  model: Answerer,
  tokenizer: Tokenizer,
  questions: readonly { prompt: string }[],
): Promise<Answer[]> {
  const answers: Answer[] = []
  for (let start = 0; start < questions.length; start += BATCH) {
    const prompts = questions.slice(start, start + BATCH).map(({ prompt }) => tokenizer.encode(prompt).inputIds)
    const { newTokens } = await model.generate(prompts, { maxNewTokens: MAX_NEW_TOKENS, threads: THREADS })
    for (const tokens of newTokens) {
      answers.push({ tokens, text: tokenizer.decode(tokens, { skipSpecialTokens: true }) })
    }
  }
  return answers
}

/** Which answers are right, letter by letter. */
export function markAnswers(questions: readonly Question[], answers: readonly Answer[]): boolean[] {
  return questions.map(({ completion }, i) => answers[i].text === completion)
}

/** The share of right answers, from 0 to 1. */
export function exactMatch(questions: readonly Question[], answers: readonly Answer[]): number {
  return markAnswers(questions, answers).filter(Boolean).length / questions.length
}
