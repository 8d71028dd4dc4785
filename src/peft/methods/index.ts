/** @file The built-in methods: one line each, importing a folder registers its method. */
export * from './ia3/index.ts'
export * from './ln-tuning/index.ts'
export * from './lora/index.ts'
