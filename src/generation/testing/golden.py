"""Writes golden.json: what Transformers 5.23 computes, for the tests of generation.

By hand, where torch and transformers are:
python golden.py <folder of the oracle's models> && npx biome check --write golden.json
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
from transformers.generation import logits_process as lp

SCORES = [1.5, -0.75, 0.25, 2.0, -1.25, 0.0, 3.25, -2.5, 0.5, 1.0, -0.5, 1.25]
IDS = [3, 6, 3, 1, 6, 3]
SOURCE = [4, 6, 3, 7, 6, 3, 9]


def processors():
    eos = [5, 6]
    cases = {
        "repetitionPenalty": ({"repetitionPenalty": 1.5}, lp.RepetitionPenaltyLogitsProcessor(1.5)),
        "encoderRepetitionPenalty": (
            {"encoderRepetitionPenalty": 1.5},
            lp.EncoderRepetitionPenaltyLogitsProcessor(1.5, torch.tensor([SOURCE])),
        ),
        "noRepeatNgramSize 1": ({"noRepeatNgramSize": 1}, lp.NoRepeatNGramLogitsProcessor(1)),
        "noRepeatNgramSize 2": ({"noRepeatNgramSize": 2}, lp.NoRepeatNGramLogitsProcessor(2)),
        "noRepeatNgramSize 3": ({"noRepeatNgramSize": 3}, lp.NoRepeatNGramLogitsProcessor(3)),
        "encoderNoRepeatNgramSize 2": (
            {"encoderNoRepeatNgramSize": 2},
            lp.EncoderNoRepeatNGramLogitsProcessor(2, torch.tensor([SOURCE])),
        ),
        "encoderNoRepeatNgramSize 3": (
            {"encoderNoRepeatNgramSize": 3},
            lp.EncoderNoRepeatNGramLogitsProcessor(3, torch.tensor([SOURCE])),
        ),
        "badWordsIds": (
            {"badWordsIds": [[0], [6], [3, 8], [6, 3, 9], [1, 10]]},
            lp.NoBadWordsLogitsProcessor([[0], [6], [3, 8], [6, 3, 9], [1, 10]], eos_token_id=eos),
        ),
        "sequenceBias": (
            {"sequenceBias": [[[2], 1.5], [[3, 2], -4.0], [[6, 3, 7], 2.0], [[1, 3, 7], 9.0]]},
            lp.SequenceBiasLogitsProcessor([[[2], 1.5], [[3, 2], -4.0], [[6, 3, 7], 2.0], [[1, 3, 7], 9.0]]),
        ),
        "minLength reached": ({"minLength": 6}, lp.MinLengthLogitsProcessor(6, eos)),
        "minLength": ({"minLength": 7}, lp.MinLengthLogitsProcessor(7, eos)),
        "minNewTokens": ({"minNewTokens": 3}, lp.MinNewTokensLengthLogitsProcessor(4, 3, eos)),
        "minNewTokens reached": ({"minNewTokens": 2}, lp.MinNewTokensLengthLogitsProcessor(4, 2, eos)),
        "exponentialDecayLengthPenalty": (
            {"exponentialDecayLengthPenalty": [0, 1.3]},
            lp.ExponentialDecayLengthPenalty((0, 1.3), eos, 4),
        ),
        "exponentialDecayLengthPenalty later": (
            {"exponentialDecayLengthPenalty": [2, 1.3]},
            lp.ExponentialDecayLengthPenalty((2, 1.3), eos, 4),
        ),
        "suppressTokens": ({"suppressTokens": [0, 11]}, lp.SuppressTokensLogitsProcessor([0, 11])),
        "beginSuppressTokens later": (
            {"beginSuppressTokens": [0, 11]},
            lp.SuppressTokensAtBeginLogitsProcessor([0, 11], 4),
        ),
        "forcedEosTokenId": (
            {"forcedEosTokenId": 5, "maxNewTokens": 3},
            lp.ForcedEOSTokenLogitsProcessor(7, 5),
        ),
        "forcedEosTokenId later": (
            {"forcedEosTokenId": 5, "maxNewTokens": 4},
            lp.ForcedEOSTokenLogitsProcessor(8, 5),
        ),
    }
    ids, scores = torch.tensor([IDS]), torch.tensor([SCORES])
    return [
        {"name": name, "options": options, "expected": plain(processor(ids, scores.clone())[0])}
        for name, (options, processor) in cases.items()
    ]


def warpers():
    cases = []
    for least in (1, 3):
        cases += [
            ({"temperature": 0.7}, least, [lp.TemperatureLogitsWarper(0.7)]),
            ({"topK": 2}, least, [lp.TopKLogitsWarper(2, min_tokens_to_keep=least)]),
            ({"topP": 0.6}, least, [lp.TopPLogitsWarper(0.6, min_tokens_to_keep=least)]),
            ({"topP": 0.95}, least, [lp.TopPLogitsWarper(0.95, min_tokens_to_keep=least)]),
            ({"minP": 0.3}, least, [lp.MinPLogitsWarper(0.3, min_tokens_to_keep=least)]),
            ({"typicalP": 0.3}, least, [lp.TypicalLogitsWarper(0.3, min_tokens_to_keep=least)]),
            ({"typicalP": 0.9}, least, [lp.TypicalLogitsWarper(0.9, min_tokens_to_keep=least)]),
            ({"epsilonCutoff": 0.1}, least, [lp.EpsilonLogitsWarper(0.1, min_tokens_to_keep=least)]),
            ({"etaCutoff": 0.3}, least, [lp.EtaLogitsWarper(0.3, min_tokens_to_keep=least)]),
            (
                {"temperature": 1.7, "topK": 9, "topP": 0.97, "minP": 0.1, "typicalP": 0.95, "etaCutoff": 0.2},
                least,
                [
                    lp.TemperatureLogitsWarper(1.7),
                    lp.TopKLogitsWarper(9, min_tokens_to_keep=least),
                    lp.TopPLogitsWarper(0.97, min_tokens_to_keep=least),
                    lp.MinPLogitsWarper(0.1, min_tokens_to_keep=least),
                    lp.TypicalLogitsWarper(0.95, min_tokens_to_keep=least),
                    lp.EtaLogitsWarper(0.2, min_tokens_to_keep=least),
                ],
            ),
        ]
    result = []
    for options, least, chain in cases:
        scores = torch.tensor([SCORES])
        for warper in chain:
            scores = warper(None, scores)
        result.append({"options": options, "least": least, "expected": plain(scores[0])})
    return result


def plain(scores):
    return [None if value == -float("inf") else value for value in scores.tolist()]


BEAMS = [
    {"numBeams": 3},
    {"numBeams": 3, "lengthPenalty": 0.5, "earlyStopping": True},
    {"numBeams": 3, "lengthPenalty": 2.0, "earlyStopping": "never"},
    {"numBeams": 3, "lengthPenalty": -0.5, "earlyStopping": "never"},
    {"numBeams": 3, "noRepeatNgramSize": 2, "lengthPenalty": 0.5},
    {"numBeams": 4, "noRepeatNgramSize": 2, "repetitionPenalty": 1.3, "minNewTokens": 5, "earlyStopping": True},
    {"numBeams": 3, "renormalizeLogits": True, "badWordsIds": "likeliest"},
]


def snake(name):
    return "".join("_" + c.lower() if c.isupper() else c for c in name)


def beams(root):
    cases = []
    for name, auto in [
        ("llama-causal", AutoModelForCausalLM),
        ("gpt2-causal", AutoModelForCausalLM),
        ("t5-seq2seq", AutoModelForSeq2SeqLM),
        ("bart-seq2seq", AutoModelForSeq2SeqLM),
    ]:
        model = auto.from_pretrained(root / name, dtype=torch.float32).eval()
        prompt = [5, 17, 90, 33, 64, 12, 7]
        ids = torch.tensor([prompt])
        extra = {"attention_mask": torch.ones_like(ids), "pad_token_id": 0}
        greedy = model.generate(ids, max_new_tokens=12, do_sample=False, eos_token_id=[119], **extra)[0].tolist()
        start = 1 if model.config.is_encoder_decoder else len(prompt)
        # End-of-text tokens that the beams meet on their way.
        common = model.generate(
            ids, max_new_tokens=12, num_beams=4, num_return_sequences=4, eos_token_id=[119], **extra
        )[:, start + 2 :].flatten().unique().tolist()
        for settings in BEAMS:
            for eos in ([common[0]], [common[-1], common[len(common) // 2]]):
                options = {**settings, "eosTokenId": eos, "maxNewTokens": 12, "numReturnSequences": 2}
                if settings.get("badWordsIds") == "likeliest":
                    options["badWordsIds"] = [[greedy[start]], [greedy[start + 1], greedy[start + 2]]]
                result = model.generate(
                    ids,
                    **{snake(key): value for key, value in options.items()},
                    **extra,
                    do_sample=False,
                    output_scores=True,
                    return_dict_in_generate=True,
                )
                texts = []
                for row in result.sequences.tolist():
                    new = row[start:]
                    ends = [i for i, token in enumerate(new) if token in eos]
                    texts.append(new[: ends[0] + 1] if ends else new[:12])
                cases.append(
                    {
                        "model": name,
                        "prompt": prompt,
                        "options": options,
                        "newTokens": texts,
                        "scores": result.sequences_scores.tolist(),
                    }
                )
    return cases


torch.set_num_threads(1)
root = Path(sys.argv[1])
golden = {
    "scores": SCORES,
    "ids": IDS,
    "source": SOURCE,
    "processors": processors(),
    "warpers": warpers(),
    "beams": beams(root),
}
target = Path(__file__).with_name("golden.json")
target.write_text(json.dumps(golden))
