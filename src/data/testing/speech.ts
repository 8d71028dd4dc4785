/** @file A tokenizer with Whisper's tokens, and recordings of tones. */

const WORDS = ['low', 'high', 'tone', 'a']
const SPECIAL = ['<|endoftext|>', '<|startoftranscript|>', '<|en|>', '<|de|>', '<|transcribe|>', '<|translate|>']

/** A tokenizer of a few words, with Whisper's tokens. */
export function whisperTokenizerFiles(): Record<string, object> {
  const special = [...SPECIAL, '<|notimestamps|>']
  const vocab = Object.fromEntries(['[UNK]', ...special, ...WORDS].map((token, id) => [token, id]))
  return {
    'tokenizer.json': {
      version: '1.0',
      added_tokens: special.map(content => ({
        ...{ id: vocab[content], content, special: true, single_word: false },
        ...{ lstrip: false, rstrip: false, normalized: false },
      })),
      normalizer: null,
      pre_tokenizer: { type: 'Whitespace' },
      post_processor: null,
      decoder: null,
      model: { type: 'WordLevel', vocab, unk_token: '[UNK]' },
    },
    'tokenizer_config.json': {
      eos_token: '<|endoftext|>',
      pad_token: '<|endoftext|>',
      tokenizer_class: 'WhisperTokenizer',
    },
  }
}

/** A WAV file with a tone. */
export function toneWav(hertz: number, { seconds = 0.5, rate = 16_000, channels = 1 } = {}): Uint8Array {
  const count = Math.round(seconds * rate)
  const file = new DataView(new ArrayBuffer(44 + 2 * count * channels))
  const text = (at: number, value: string) =>
    [...value].forEach((letter, i) => {
      file.setUint8(at + i, letter.charCodeAt(0))
    })
  text(0, 'RIFF')
  file.setUint32(4, file.byteLength - 8, true)
  text(8, 'WAVEfmt ')
  file.setUint32(16, 16, true)
  file.setUint16(20, 1, true)
  file.setUint16(22, channels, true)
  file.setUint32(24, rate, true)
  file.setUint32(28, rate * channels * 2, true)
  file.setUint16(32, channels * 2, true)
  file.setUint16(34, 16, true)
  text(36, 'data')
  file.setUint32(40, 2 * count * channels, true)
  for (let i = 0; i < count * channels; i++) {
    const time = Math.floor(i / channels) / rate
    file.setInt16(44 + 2 * i, 16_000 * Math.sin(2 * Math.PI * hertz * time), true)
  }
  return new Uint8Array(file.buffer)
}
