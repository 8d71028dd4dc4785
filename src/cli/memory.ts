/** @file The largest amount of memory that this process has held. */
import { readFileSync } from 'node:fs'

/** The peak of the resident memory in bytes: Linux' high-water mark, elsewhere what the system reports. */
export function peakMemoryBytes(): number {
  try {
    const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
    if (kilobytes !== undefined) return Number(kilobytes) * 1024
  } catch {
    // Only Linux has this file.
  }
  return process.resourceUsage().maxRSS * 1024
}
