/** @file How many parameters train, and how that is printed. */

/** The number of trainable parameters, and of all. */
export interface ParameterCounts {
  trainable: number
  all: number
}

/** `trainable params: … || all params: … || trainable%: …`, as PEFT prints it. */
export function formatTrainableParameters({ trainable, all }: ParameterCounts): string {
  const count = (n: number) => n.toLocaleString('en-US')
  return `trainable params: ${count(trainable)} || all params: ${count(all)} || trainable%: ${((100 * trainable) / all).toFixed(4)}`
}
