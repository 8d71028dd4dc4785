/** @file Generation: continuing prompts token by token. The public subpath `peft-ts/generation`. */
import { registerGenerator } from '../models/generator.ts'
import { generate } from './generate.ts'
import { stream } from './stream.ts'

registerGenerator({ generate, stream })

export type {
  FinishReason,
  GenerateInputs,
  GenerateOptions,
  GenerateResult,
  GenerationDefaults,
  GenerativeModel,
  Prompts,
  Recordings,
  StreamOptions,
  TokenDecoder,
  TokenLogprob,
} from '../models/generator.ts'
export { generate } from './generate.ts'
export { GenerationConfig } from './generation-config.ts'
export { releaseGeneration } from './programs.ts'
export { stream } from './stream.ts'
