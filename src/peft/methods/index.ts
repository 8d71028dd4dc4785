/** @file The built-in methods: one line each, importing a folder registers its method. */
export * from './lora/index.ts'
