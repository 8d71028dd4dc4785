/** @file Prefixes: learned keys and values of positions in front of a text, in every layer. */
import { add, expand, reshape, slice, type Tensor, transpose } from '../../graph/index.ts'
import { AttentionModule, type ModelInputs, type ModelOutput } from '../../models/index.ts'
import { joinKeyValues, KeyValueCache, type KeyValues } from '../../nn/index.ts'
import type { Entered, ModelFacts } from '../method.ts'
import { hasSegments, inFront } from './enter.ts'

/** What a model's attention layers have room for. */
export interface PrefixShape {
  layers: number
  /** The heads of keys and values, fewer than those of queries where these share them. */
  heads: number
  /** The width of one head. */
  width: number
}

/**
 * The layers that a prefix stands in: those that attend within the decoder's own sequence, in a model without decoder
 * within the encoder's.
 *
 * @throws where there are none, or they differ
 */
export function prefixShape({ base, modelType }: ModelFacts, peftType: string): PrefixShape {
  const all = [...base.namedModules()].map(([, module]) => module).filter(module => module instanceof AttentionModule)
  const decoder = all.filter(({ role }) => role === 'decoder')
  const layers = decoder.length ? decoder : all.filter(({ role }) => role === 'encoder')
  const [first] = layers
  if (!first) {
    throw new Error(
      `${peftType} gives attention layers further keys and values; ${base.constructor.name} has no attention layers that take them. Use a method that works on layers, such as LORA.`,
    )
  }
  const { numKeyValueHeads: heads, headWidth: width } = first
  if (layers.some(layer => layer.numKeyValueHeads !== heads || layer.headWidth !== width)) {
    throw new Error(
      `${peftType}: the attention layers of ${modelType} have different heads, so that one prefix does not fit all; use PROMPT_TUNING or P_TUNING`,
    )
  }
  return { layers: layers.length, heads, width }
}

/**
 * A table of prefixes as keys and values for each layer, `[1, heads, length, width]`.
 *
 * For a model with an encoder PEFT lays two copies of the table one after the other and gives every layer four entries
 * of them: keys and values of its own, and two for the cross-attention, which it then throws away. So layers share
 * entries (layer `i` with layer `i + layers / 2` where their number is even) and others are never read. Its files have
 * that meaning; with one submodule every layer has entries of its own.
 *
 * @param table `[length, layers * 2 * heads * width]`
 * @param submodules PEFT's `num_transformer_submodules`
 */
export function prefixKeyValues(table: Tensor, { layers, heads, width }: PrefixShape, submodules = 1): KeyValues[] {
  const parts = transpose(reshape(table, [table.shape[0], layers * 2, heads, width]), [1, 2, 0, 3])
  const part = (i: number) => slice(parts, 0, i, i + 1)
  return Array.from({ length: layers }, (_, layer) => {
    const at = (2 * submodules * layer) % (2 * layers)
    return { key: part(at), value: part(at + 1) }
  })
}

/**
 * The inputs with a prefix in front of the text: the decoder's, where the model has one. As in PEFT it takes the first
 * positions, as if it came from an earlier pass, and is always seen.
 *
 * @param prefix `[1, heads, length, width]` for each layer
 */
export function enterWithPrefix(inputs: ModelInputs, prefix: readonly KeyValues[], model: ModelFacts): Entered {
  const { cache } = inputs
  if (cache?.continues) return { inputs }
  const length = prefix[0].key.shape[2] as number
  const isSeq2Seq = model.config?.is_encoder_decoder ?? false
  const tokens = isSeq2Seq ? (inputs.decoder_input_ids ?? inputs.labels) : (inputs.input_ids ?? inputs.inputs_embeds)
  if (!tokens) {
    throw new Error(
      isSeq2Seq
        ? 'forward: got neither decoder_input_ids nor labels; the decoder of a sequence-to-sequence model reads one of them'
        : 'forward: got neither input_ids nor inputs_embeds, expected exactly one of them',
    )
  }
  const [batch] = tokens.shape
  const rows = ({ key, value }: KeyValues): KeyValues => ({
    key: expand(key, [batch, ...key.shape.slice(1)]),
    value: expand(value, [batch, ...value.shape.slice(1)]),
  })
  const past = prefix.map(rows)
  const own = new KeyValueCache(joinKeyValues(past, cache?.past ?? []), cache?.cross ?? [], false)
  const moved = (positions: Tensor | undefined) => positions && add(positions, length)
  const entered: ModelInputs = isSeq2Seq
    ? {
        ...inputs,
        decoder_attention_mask: inFront(inputs.decoder_attention_mask, length, 1),
        decoder_position_ids: moved(inputs.decoder_position_ids),
      }
    : {
        ...inputs,
        attention_mask: inFront(inputs.attention_mask, length, 1),
        position_ids: moved(inputs.position_ids),
        token_type_ids: hasSegments(model.task) ? inputs.token_type_ids : undefined,
      }
  const leave = (output: ModelOutput) => {
    if (own.present.length !== past.length) {
      throw new Error(
        `${model.modelType} left keys and values of ${own.present.length} layers, its prefix has ${past.length}; its attention layers have to use cachedAttention`,
      )
    }
    cache?.present.push(...joinKeyValues(past, own.present))
    cache?.presentCross.push(...own.presentCross)
    return output
  }
  return { inputs: { ...entered, cache: own }, leave }
}
