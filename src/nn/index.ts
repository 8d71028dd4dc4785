/** @file Modules, parameters, the standard layers, attention and initialisers. */
export * from './activations.ts'
export * from './attention.ts'
export * from './init.ts'
export * from './layers.ts'
export * from './module.ts'
export * from './parameter.ts'
export * from './parameter-vector.ts'
export * from './residual.ts'
