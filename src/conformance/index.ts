/** @file The conformance battery, for methods of this library and of others. Node only. */
export { type ConformanceReport, checkConformance, type Finding } from './battery.ts'
export { SUBJECTS, type Subject } from './subjects.ts'
