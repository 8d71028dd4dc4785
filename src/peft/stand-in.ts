/** @file Modules that a method has put in the place of others because the tree has another shape with its adapters. */
import type { Module } from '../nn/index.ts'

/** A module in the place of another one; see `PeftMethod.reshape`. */
export interface StandIn extends Module {
  /** The module that stands there without adapters. */
  standsFor(): Module
}

/** Whether a module stands in the place of another one. */
export const isStandIn = (module: Module): module is StandIn => 'standsFor' in module
