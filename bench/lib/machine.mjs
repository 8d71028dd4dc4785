/** @file The computer that a measurement was made on, and the versions of what ran. */
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, platform, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { ROOT } from './paths.mjs'

const FEATURES = ['avx2', 'fma', 'avx512f', 'avx512_vnni', 'avx_vnni', 'amx_tile', 'asimd']

/** @param {Record<string, string>} peerVersions @returns {import('./results.ts').Machine} */
export function describeMachine(peerVersions) {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown processor',
    features: features(),
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${platform()} ${release()}`,
    loadBefore: Number(loadavg()[0].toFixed(2)),
    versions: {
      'peft-ts': versionIn(ROOT),
      node: process.versions.node,
      'onnxruntime-node': versionIn(join(ROOT, 'node_modules/onnxruntime-node')),
      ...peerVersions,
    },
  }
}

function features() {
  try {
    const flags = /^(?:flags|Features)\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1].split(/\s+/) ?? []
    return FEATURES.filter(feature => flags.includes(feature))
  } catch {
    // Only Linux has this file.
    return []
  }
}

/** @param {string} folder @returns {string} */
function versionIn(folder) {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version
}
