/** @file The error of everything that reads or writes safetensors. */

/** A safetensors file, header or tensor that cannot be read or written; the message names the file and the tensor. */
export class SafetensorsError extends Error {
  /** The file (or the label of a buffer) that the error is about. */
  readonly file: string
  /** The tensor that the error is about, where there is one. */
  readonly tensor: string | undefined

  constructor(file: string, problem: string, options: { tensor?: string; cause?: unknown } = {}) {
    const subject = options.tensor === undefined ? file : `${file}: tensor "${options.tensor}"`
    super(`${subject}: ${problem}`, { cause: options.cause })
    this.name = 'SafetensorsError'
    this.file = file
    this.tensor = options.tensor
  }
}
