/** @file CLIP beside its reference: unequal numbers of texts and images, the towers alone, and errors. */
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../../test/temporary.ts'
import { Graph } from '../../graph/index.ts'
import {
  AutoConfig,
  AutoModel,
  type CLIPConfig,
  CLIPModel,
  CLIPTextModel,
  CLIPTextModelWithProjection,
} from '../index.ts'

const TOWER = { hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 12 }
const TEXT = { ...TOWER, vocab_size: 20, max_position_embeddings: 6, eos_token_id: 7 }
const WHOLE = {
  model_type: 'clip',
  projection_dim: 5,
  text_config: TEXT,
  vision_config: { ...TOWER, image_size: 4, patch_size: 2 },
} as const

const build = () => AutoModel.fromConfig(AutoConfig.fromJSON(WHOLE)) as CLIPModel

describe('CLIP', () => {
  it('compares every text with every image, and has a loss for pairs only', () => {
    const of = (images: string) => {
      const graph = new Graph()
      const input_ids = graph.input('input_ids', 'int64', ['texts', 'sequence'])
      const pixel_values = graph.input('pixel_values', 'float32', [images, 3, 4, 4])
      return build().forward({ input_ids, pixel_values })
    }
    const zeroShot = of('images')
    expect(zeroShot.logits_per_text?.shape).toEqual(['texts', 'images'])
    expect(zeroShot.logits_per_image?.shape).toEqual(['images', 'texts'])
    expect(zeroShot.loss).toBeUndefined()
    expect(of('texts').loss?.shape).toEqual([])
  })

  it('reads both towers from its configuration, with the older spelling of their values', () => {
    const config = AutoConfig.fromJSON({ ...WHOLE, text_config_dict: { hidden_size: 4 }, vision_config_dict: null })
    expect(config.text_config.hidden_size).toBe(4)
    expect(config.text_config.max_position_embeddings).toBe(6)
    expect(config.vision_config.image_size).toEqual([4, 4])
    expect(AutoConfig.fromJSON({ model_type: 'clip' }).text_config.vocab_size).toBe(49408)
    const wrong = { ...WHOLE, text_config: { ...TEXT, num_attention_heads: 3 } }
    expect(() => AutoConfig.fromJSON(wrong, 'config.json')).toThrow(/config\.json \(text_config\): "hidden_size" is 8/)
  })

  it('says what it lacks', () => {
    const graph = new Graph()
    const input_ids = graph.input('input_ids', 'int64', ['batch', 'sequence'])
    const inputs_embeds = graph.input('inputs_embeds', 'float32', ['batch', 'sequence', 8])
    const pixel_values = graph.input('pixel_values', 'float32', ['batch', 3, 4, 4])
    expect(() => build().forward({ input_ids })).toThrow(/no pixel_values/)
    expect(() => build().forward({ inputs_embeds, pixel_values })).toThrow(/no input_ids; CLIP finds the end/)
    const large = graph.input('large', 'float32', ['batch', 3, 6, 6])
    expect(() => build().forward({ input_ids, pixel_values: large })).toThrow(/resize the images to 4 x 4/)
    const long = graph.input('long', 'int64', ['batch', 7])
    expect(() => build().forward({ input_ids: long, pixel_values })).toThrow(/7 positions.*made for 6/)
  })
})

describe("CLIP's tower of texts", () => {
  const config = AutoConfig.fromJSON({ model_type: 'clip_text_model', ...TEXT, projection_dim: 5 })

  it('is opened from its own files, and from those of a whole CLIP', async () => {
    const whole = build()
    whole.initialize(3)
    const folder = await temporaryFolder()
    await whole.savePretrained(folder)
    const warnings: string[] = []
    const options = { config, onWarning: (text: string) => warnings.push(text) }
    const tower = await CLIPTextModel.fromPretrained(folder, options)
    const projected = await CLIPTextModelWithProjection.fromPretrained(folder, options)
    expect(warnings).toEqual([])
    expect(await tower.final_layer_norm.weight.read()).toEqual(await whole.text_model.final_layer_norm.weight.read())
    for (const name of ['token_embedding', 'position_embedding'] as const) {
      const own = await whole.text_model.embeddings[name].weight.read()
      expect(await tower.embeddings[name].weight.read()).toEqual(own)
      expect(await projected.text_model.embeddings[name].weight.read()).toEqual(own)
    }
    expect(await projected.text_projection.weight.read()).toEqual(await whole.text_projection.weight.read())

    const own = await temporaryFolder()
    await tower.savePretrained(own)
    const again = await AutoModel.fromPretrained(own, { onWarning: text => warnings.push(text) })
    expect(again).toBeInstanceOf(CLIPTextModel)
    expect(warnings).toEqual([])
  })

  it('gives what texts are compared by, where it projects', () => {
    const graph = new Graph()
    const input_ids = graph.input('input_ids', 'int64', ['batch', 'sequence'])
    expect(new CLIPTextModelWithProjection(config).forward({ input_ids }).text_embeds?.shape).toEqual(['batch', 5])
    expect(new CLIPTextModel(config).forward({ input_ids }).pooler_output?.shape).toEqual(['batch', 8])
  })

  it('has a configuration of its own', () => {
    expect((build().config as CLIPConfig).text_config.model_type).toBe('clip_text_model')
    expect(() => CLIPModel.fromConfig(config)).toThrow(/model_type "clip_text_model", expected "clip"/)
  })
})
