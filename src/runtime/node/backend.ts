/** @file ONNX Runtime for Node, in a worker thread. */
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import type { LoweredModel } from '../../graph/index.ts'
import { encodeModel, type OnnxNode, type OnnxTensor } from '../../onnx/index.ts'
import type { Backend, CompileOptions, Engine, Session } from '../engine.ts'
import { measureKernels } from '../kernels.ts'
import type { Memory, MemoryCopy } from '../memory.ts'
import { KeptFeeds } from './kept-feeds.ts'
import { KernelStore } from './kernel-store.ts'
import { lostWeights } from './lost-weights.ts'
import { PackedStore } from './packed-store.ts'
import { placeWeights } from './weights.ts'

interface Pending {
  resolve(value: never): void
  reject(error: Error): void
}

/** Runs models with `onnxruntime-node`. One thread serves all sessions, one run after another. */
export class NodeBackend implements Backend {
  readonly target = 'cpu'
  #worker: Worker | undefined
  /** The calls that each thread still has to answer. */
  readonly #pending = new WeakMap<Worker, Map<number, Pending>>()
  #next = 0
  readonly #kernels: KernelStore

  /** @param kernels what was measured about this machine */
  constructor(kernels = new KernelStore()) {
    this.#kernels = kernels
  }

  async load(lowered: LoweredModel, options: CompileOptions): Promise<Session> {
    const { initializers, folder } = placeWeights(lowered.weights)
    const { graph } = lowered.model
    const bytes = encodeModel({
      ...lowered.model,
      graph: { ...graph, initializers: [...graph.initializers, ...initializers] },
    })
    const session = this.#next++
    const create = (model: Uint8Array | string, own: SessionOptions) =>
      this.#call('create', { session, model, options: own })
    const plain = sessionOptions(options, graph.nodes, folder)
    const keeps = options.keepPacked && options.mode !== 'small' && folder !== undefined
    const packed = keeps && (await this.#packed(bytes, initializers, { folder, options: plain, create, session }))
    const isLoaded =
      packed && (await this.#loadPacked(() => create(packed, sessionOptions(options, graph.nodes)), packed))
    if (!isLoaded) {
      await create(bytes, plain).catch(async cause => {
        const lost = await lostWeights(lowered.weights)
        throw lost === undefined ? cause : new Error(lost, { cause })
      })
    }
    const kept = new KeptFeeds()
    return {
      run: async (feeds, details) => {
        try {
          return await this.#call('run', { session, feeds: kept.toSend(feeds), ...details })
        } catch (cause) {
          // It is not certain that the values arrived.
          kept.forget()
          throw cause
        }
      },
      dispose: () =>
        this.#worker ? this.#call('release', { session, profile: Boolean(options.profile) }) : Promise.resolve(),
    }
  }

  /** The path of the model in the engine's own form; it is made where it is not there. */
  #packed(
    bytes: Uint8Array,
    initializers: readonly OnnxTensor[],
    how: {
      folder: string
      options: SessionOptions
      session: number
      create(model: Uint8Array, options: SessionOptions): Promise<void>
    },
  ): Promise<string | undefined> {
    const { folder, options, session, create } = how
    return new PackedStore().path(bytes, initializers, {
      folder,
      onProblem: problem => process.emitWarning(problem),
      pack: async (path, weights) => {
        const saving = {
          save_external_prepacked_constant_initializers: '1',
          optimized_model_external_initializers_file_name: weights,
          // Sizes and shapes must stand in the model itself.
          optimized_model_external_initializers_min_size_in_bytes: '65536',
        }
        const extra = { session: { ...options.extra.session, ...saving } }
        await create(bytes, { ...options, optimizedModelFilePath: path, extra })
        await this.#call('release', { session, profile: false })
      },
    })
  }

  /** Whether the packed form could be loaded; one that could not is taken away. */
  async #loadPacked(load: () => Promise<void>, path: string): Promise<boolean> {
    try {
      await load()
      return true
    } catch (error) {
      process.emitWarning(`Packed weights could not be read again and are not used: ${(error as Error).message}`)
      await new PackedStore().remove(path)
      return false
    }
  }

  async fastestProducts(engine: Engine, threads?: number): Promise<'exact' | 'int8'> {
    const { products } = await this.#kernels.choice(() => measureKernels(engine, threads), threads)
    return products
  }

  allocate(memories: readonly Memory[]): Promise<void> {
    return this.#call('allocate', { memories })
  }

  copy(copies: readonly MemoryCopy[]): Promise<void> {
    return this.#call('copy', { copies })
  }

  async free(memories: readonly Memory[]): Promise<void> {
    // A thread that has ended has none.
    if (this.#worker) await this.#call('free', { memories })
  }

  async dispose(): Promise<void> {
    const worker = this.#worker
    this.#worker = undefined
    if (!worker) return
    // At once, and not when the thread has ended: until then an answer could still arrive.
    this.#rejectAll(worker, new Error('The engine was disposed before it answered'))
    const ended = once(worker, 'exit')
    worker.ref()
    worker.postMessage({ action: 'close' })
    await ended
  }

  #rejectAll(worker: Worker, error: Error): void {
    const calls = this.#pending.get(worker)
    for (const call of calls?.values() ?? []) call.reject(error)
    calls?.clear()
  }

  #call<T = void>(action: string, request: object): Promise<T> {
    const worker = (this.#worker ??= this.#start())
    const id = this.#next++
    return new Promise<T>((resolve, reject) => {
      // This throws where a value cannot be copied to the thread; then there is no answer to wait for.
      worker.postMessage({ id, action, request })
      this.#pending.get(worker)?.set(id, { resolve, reject })
      worker.ref()
    })
  }

  #start(): Worker {
    const worker = new Worker(new URL('./worker.js', import.meta.url))
    const calls = new Map<number, Pending>()
    this.#pending.set(worker, calls)
    // An idle engine must not keep the process alive.
    worker.unref()
    worker.on('message', ({ id, result, error }) => {
      const call = calls.get(id)
      calls.delete(id)
      if (calls.size === 0) worker.unref()
      if (error === undefined) call?.resolve(result as never)
      else call?.reject(new Error(`ONNX Runtime: ${error}`))
    })
    const fail = (error: Error) => {
      if (this.#worker === worker) this.#worker = undefined
      this.#rejectAll(worker, error)
    }
    worker.on('error', fail)
    worker.on('exit', code => fail(new Error(`The engine's thread ended (exit code ${code})`)))
    return worker
  }
}

/** ONNX Runtime's options, and where it is to write the model in its own form. */
type SessionOptions = ReturnType<typeof sessionOptions> & { optimizedModelFilePath?: string }

/** ONNX Runtime's options. Its own optimiser stays off: the graphs are optimised before, and their order matters. */
function sessionOptions(
  { mode = 'fast', threads = availableParallelism(), profile }: CompileOptions,
  nodes: readonly OnnxNode[],
  folder?: string,
) {
  // The kernel for packed weights dequantises them at each call where it may not arrange them for itself once.
  const small = mode === 'small' && !nodes.some(({ op }) => op === 'MatMulNBits')
  return {
    graphOptimizationLevel: 'disabled',
    enableMemPattern: false,
    enableCpuMemArena: true,
    intraOpNumThreads: threads,
    logSeverityLevel: 3,
    ...(profile ? { enableProfiling: true, profileFilePrefix: profile } : {}),
    extra: {
      session: {
        ...(folder === undefined ? {} : { model_external_initializers_file_folder_path: folder }),
        ...(small ? { disable_prepacking: '1' } : {}),
      },
    },
  }
}
