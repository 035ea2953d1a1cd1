"""Describing and scoring while training: greedy words for whole batches, and the scores of all tasks, held out.

The plain reference loop, kept simple like the one that draws. Must not train.
"""

from collections.abc import Sequence
from dataclasses import asdict
from random import Random
from typing import Any

import torch
from torch import Tensor
from transformers import JanusForConditionalGeneration, PreTrainedTokenizerFast

from generation.training.multimodal.batches import pad_left
from generation.training.multimodal.codebook import Codebook
from generation.training.multimodal.drawing import Score, draw, held_out_scenes, score, score_codes
from generation.training.multimodal.looking import embed_prompts, instruction_tokens, question_tokens
from generation.training.multimodal.plan import Plan
from generation.training.multimodal.tasks import look_at
from generation.training.multimodal.vocabulary import EOS
from generation.training.world import EDIT_KINDS, QUESTIONS, Edit, EditKind, Scene, answer, sample_edit

LONGEST_ANSWER = 16  # words; the longest right one has 12


@torch.no_grad()
def describe(
    model: JanusForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    pictures: Tensor,
    question: str = QUESTIONS[0],
) -> list[str]:
    """What these pictures show (uint8 [n, 3, height, width]), the likeliest word each time."""
    prompts, mask = pad_left([question_tokens(tokenizer, question)] * len(pictures))
    embedded = embed_prompts(model, prompts, pictures)
    cache, said = None, torch.empty((len(pictures), 0), dtype=torch.long)
    for _ in range(LONGEST_ANSWER):
        step = model.model.language_model(
            inputs_embeds=embedded, attention_mask=mask, past_key_values=cache, use_cache=True
        )
        cache, word = step.past_key_values, model.lm_head(step.last_hidden_state[:, -1]).argmax(-1, keepdim=True)
        said = torch.cat([said, word], dim=1)
        if bool((said == EOS).any(1).all()):
            break
        embedded = model.model.language_model.embed_tokens(word)
        mask = torch.cat([mask, torch.ones_like(word)], dim=1)
    return [tokenizer.decode(_until_end(row), skip_special_tokens=True) for row in said.tolist()]


def _until_end(words: list[int]) -> list[int]:
    return words[: words.index(EOS)] if EOS in words else words


def score_describing(
    model: JanusForConditionalGeneration,
    codebook: Codebook,
    tokenizer: PreTrainedTokenizerFast,
    scenes: Sequence[Scene],
) -> float:
    """Share of scenes whose description is right to the word: objects, relation, size and colour."""
    said = describe(model, tokenizer, look_at(codebook, scenes))
    truths = [tokenizer.decode(tokenizer(answer(scene))["input_ids"], skip_special_tokens=True) for scene in scenes]
    right = [text == truth for text, truth in zip(said, truths, strict=True)]
    return right.count(True) / len(right)


def held_out_edits(codebook: Codebook, count: int, seed: int, asked: Sequence[EditKind] = EDIT_KINDS) -> list[Edit]:
    """At least one, and as many of each kind as of the others."""
    rng = Random(seed)  # noqa: S311 - a fixed evaluation set, not a secret
    kinds = [asked[number % len(asked)] for number in range(max(1, count))]
    return [sample_edit(codebook.world, rng, kind, wanted=True) for kind in kinds]


def score_editing(
    model: JanusForConditionalGeneration,
    codebook: Codebook,
    tokenizer: PreTrainedTokenizerFast,
    edits: Sequence[Edit],
    *,
    ask_judge: bool = False,
) -> Score:
    """Greedy: the asked change made and the rest kept, so the picture is the target."""
    prompts = [instruction_tokens(tokenizer, edit.instruction) for edit in edits]
    sources = look_at(codebook, [edit.source for edit in edits])
    drawn = draw(model, codebook.mosaic, prompts, pictures=sources)
    return score_codes(codebook, drawn, [edit.target for edit in edits], ask_judge=ask_judge)


def score_all(
    model: JanusForConditionalGeneration, codebook: Codebook, tokenizer: PreTrainedTokenizerFast, plan: Plan
) -> dict[str, Any]:
    """A line of the learning curve: what the plan's tasks have come to, on scenes that training never saw."""
    line: dict[str, Any] = {}
    kinds = {"one": False, "two": True}
    scenes = {
        name: held_out_scenes(codebook, plan.score_prompts, pair=pair, seed=plan.seed) for name, pair in kinds.items()
    }
    for name in kinds:
        line[name] = _rounded(score(model, codebook, tokenizer, scenes[name]))
    if plan.follow:
        for name in kinds:
            line[f"describe {name}"] = round(score_describing(model, codebook, tokenizer, scenes[name]), 3)
        edits = held_out_edits(codebook, plan.score_prompts, plan.seed)
        line["edit"] = _rounded(score_editing(model, codebook, tokenizer, edits))
    return line


def _rounded(figures: Score) -> dict[str, float]:
    return {key: round(value, 3) for key, value in asdict(figures).items() if value is not None}
