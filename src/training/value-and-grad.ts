/** @file The value of a loss and its gradients, for any function of any module tree. */
import { gradients, lossInParts, type Recomputed, recomputeCheap, recomputeSegments } from '../autodiff/index.ts'
import { add, concat, type Graph, pushSlices, reshape, type Tensor, zeros } from '../graph/index.ts'
import { asFunction, type FunctionOptions, type SymbolicInputs, TracedFunction } from '../models/function.ts'
import { Gradients, type Module, type Parameter, ParameterVector } from '../nn/index.ts'
import { floats, type RunOptions, type TensorData } from '../runtime/index.ts'

/** Options of {@link valueAndGrad}. */
export interface ValueAndGradOptions extends FunctionOptions {
  /** The parameters to differentiate by: by default all with `requiresGrad`. A function chooses by name. */
  parameters?: Iterable<readonly [string, Parameter]>
  /** Whether dropout is active (true by default). */
  training?: boolean
  /**
   * Whether what lies between the layers of a model is computed again in the backward pass and not kept (false by
   * default): the same gradients with far less memory, for about a third more time.
   */
  gradientCheckpointing?: boolean
}

/** What a step gives. */
export interface ValueAndGradients {
  /** The loss. */
  value: number
  grads: Gradients
  /** The other outputs that the loss function returned, by name. */
  outputs: Record<string, TensorData>
}

/** A compiled step. */
export interface StepFunction extends AsyncDisposable {
  (batch: Readonly<Record<string, TensorData>>, options?: RunOptions): Promise<ValueAndGradients>
  dispose(): Promise<void>
}

/** A loss, or a loss with further outputs to fetch. */
export type LossResult = Tensor | ({ loss: Tensor } & Record<string, Tensor>)

const GRADIENT = 'gradient'
/** Bytes of logits that are computed at once where memory counts. */
const SMALL_PART_BYTES = 12e6

/**
 * Compiles a loss together with its gradients. The parameters keep their values: pass the gradients to an optimizer.
 *
 * @param compute the loss of a batch, a scalar; it may return further tensors beside it
 * @throws when there is nothing to train, or when the loss does not depend on any trainable parameter
 * @example
 * const step = await valueAndGrad(net, (net, { x, y }) => crossEntropy(net.forward(x), y))
 * const optimizer = new AdamW(trainableParameters(net), { lr: 1e-3 })
 * const { value, grads } = await step(batch)
 * optimizer.step(grads)
 */
export async function valueAndGrad<M extends Module>(
  module: M,
  compute: (module: M, inputs: SymbolicInputs) => LossResult,
  options: ValueAndGradOptions = {},
): Promise<StepFunction> {
  const vector = options.parameters ? await ParameterVector.load(options.parameters) : await loadTrainable(module)
  if (vector.size === 0) throw new Error('There is nothing to train: no parameter has requiresGrad')
  const traced = new TracedFunction(
    vector,
    (graph, inputs) => {
      graph.training = options.training ?? true
      const result = compute(module, inputs)
      const { loss: own, ...others } = 'loss' in result ? result : { loss: result as Tensor }
      // Penalties of layers, where the model itself formed no loss that holds them already.
      const loss = graph.takeLosses().reduce((sum, part) => add(sum, part), own)
      return stepOutputs(graph, vector, loss, others, options)
    },
    // The gradient is that of the dequantised weights, so the loss must be theirs too.
    { ...stepLowering(options), quantizedProducts: 'auto', ...options, module },
  )
  return asFunction(traced, async (batch: Readonly<Record<string, TensorData>>, run?: RunOptions) => {
    const { loss, [GRADIENT]: gradient, ...outputs } = await traced.run(batch, run)
    return { value: floats(loss)[0], grads: new Gradients(vector, floats(gradient)), outputs }
  })
}

/** How a step is lowered. */
export function stepLowering({
  mode,
  gradientCheckpointing = false,
}: Pick<ValueAndGradOptions, 'mode' | 'gradientCheckpointing'>) {
  return { dequantize: true, mapOnce: mode === 'small' || gradientCheckpointing }
}

async function loadTrainable(module: Module): Promise<ParameterVector> {
  module.initialize()
  return ParameterVector.load(trainableEntries(module))
}

/** The parameters of a module that training changes, by name. */
export function trainableEntries(module: Module): [string, Parameter][] {
  return [...module.namedParameters()].filter(([, parameter]) => parameter.requiresGrad)
}

/** The parameters of a module that training changes, as one vector. Gives values to those that have none. */
export function trainableParameters(module: Module): ParameterVector {
  module.initialize()
  return new ParameterVector(trainableEntries(module))
}

/** The outputs of a step: the loss, the other tensors, and all gradients as one vector in the order of `vector`. */
export function stepOutputs(
  graph: Graph,
  vector: ParameterVector,
  loss: Tensor,
  others: Record<string, Tensor>,
  { mode, gradientCheckpointing }: Pick<ValueAndGradOptions, 'mode' | 'gradientCheckpointing'>,
): Record<string, Tensor> {
  const used = vector.slices.filter(({ parameter }) => graph.bound(parameter, false))
  if (used.length === 0) throw new Error('The loss does not depend on any trainable parameter')
  const tensors = used.map(({ parameter }) => graph.bound(parameter)!)
  const names = Object.keys(others)
  // First the graph is made small, then it is differentiated: what the loss does not read has no gradient either.
  const pushed = pushSlices([loss, ...names.map(name => others[name])], tensors)
  const inParts = tensors.map(tensor => pushed.map(tensor)!)
  const optimized = lossInParts(pushed.outputs, inParts, mode === 'small' ? { bytes: SMALL_PART_BYTES } : {})
  const wrt = inParts.map(tensor => optimized.map(tensor)!)
  const boundary = optimized.graph.nodes.length
  const flat = new Map<Parameter, Tensor>()
  gradients(optimized.outputs[0], wrt, (gradient, index) => flat.set(used[index].parameter, reshape(gradient, [-1])))
  const parts = vector.slices.map(({ parameter, size }) => flat.get(parameter) ?? zeros(optimized.graph, [size]))
  const outputs = [...optimized.outputs, concat(parts, 0)]
  let final: Recomputed = { outputs, boundary }
  if (gradientCheckpointing) final = recomputeSegments(final.outputs, final.boundary)
  if (mode === 'small') final = recomputeCheap(final.outputs, final.boundary)
  return Object.fromEntries(['loss', ...names, GRADIENT].map((name, i) => [name, final.outputs[i]]))
}
