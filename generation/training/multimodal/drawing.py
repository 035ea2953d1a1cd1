"""Drawing and scoring while training: greedy decoding of whole batches, and the score of held-out prompts.

The plain reference loop, kept simple; the portal's engine has its own, faster one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor
from torch.nn import functional
from transformers import JanusForConditionalGeneration, PreTrainedTokenizerFast

from generation.engines.mosaic import Mosaic
from generation.training.multimodal.batches import Batch, encode_scenes, pad_left, prompt_tokens
from generation.training.multimodal.codebook import Codebook
from generation.training.multimodal.looking import embed_prompts
from generation.training.multimodal.vocabulary import IMAGE
from generation.training.world import Scene, judge, plain_caption

PATCHES = 0.5  # weight of what the patches of a picture handed in have to say
TILES_RIGHT = 0.9  # of an object's tiles, for the object to count


@dataclass(frozen=True, slots=True)
class Score:
    """Shares of held-out prompts: everything exactly right, the ground alone, and tiles."""

    exact: float
    ground: float
    tiles: float
    judged: float | None = None  # right in the eyes of the judge, who looks at pixels only; slow, so not always asked


def code_loss(
    model: JanusForConditionalGeneration, batch: Batch, empty: int, places: float = 0.3, others: float = 0.25
) -> Tensor:
    """Mean cross-entropy of the picture's codes; the prompt is given, not learned.

    Where a picture was handed in, each of its patches has to say too which tile comes to its place: so it is decided
    there what an instruction means for it, and drawing can look it up.
    """
    given = embed_prompts(model, batch.prompts, batch.pictures)
    drawn = model.prepare_embeddings_for_image_generation(batch.answers[:, :-1])
    mask = torch.cat([batch.mask, torch.ones_like(batch.answers[:, :-1])], dim=1)
    sequence = torch.cat([given, drawn], dim=1)
    hidden = model.model.language_model(inputs_embeds=sequence, attention_mask=mask, use_cache=False).last_hidden_state
    loss = _sampled_loss(model, hidden[:, -batch.answers.shape[1] :], batch.answers, empty, places, others)
    if batch.pictures is None:
        return loss
    patches = hidden[:, : batch.prompts.shape[1]][batch.prompts == IMAGE].view(len(hidden), -1, hidden.shape[-1])
    return loss + PATCHES * _sampled_loss(model, patches, batch.answers[:, 1:], empty, places, others)


def _sampled_loss(
    model: JanusForConditionalGeneration, hidden: Tensor, answers: Tensor, empty: int, places: float, others: float
) -> Tensor:
    """Mean cross-entropy of codes. The head over all codes would be a third of the cost.

    Every second place is empty: only a share of those `places` is scored, each counting for the ones left out. And
    only a share of the `others`, codes that no picture of this batch holds, is compared with, raised by what was left
    out, so that the softmax' sum is right on average.
    """
    head = model.model.generation_head
    weights = torch.where(answers == empty, (torch.rand(answers.shape) < places) / places, 1.0)
    chosen = weights > 0
    targets = answers[chosen]
    present = torch.zeros(head.vision_head.out_features, dtype=torch.bool)
    present[targets] = True
    rows = (present | (torch.rand(len(present)) < others)).nonzero().squeeze(1)
    raised = torch.where(present[rows], 0.0, -math.log(others))
    features = head.activation_fn(head.proj_out(hidden[chosen]))
    logits = functional.linear(features, head.vision_head.weight[rows], head.vision_head.bias[rows] + raised)
    losses = functional.cross_entropy(logits, torch.searchsorted(rows, targets), reduction="none")
    return (losses * weights[chosen]).sum() / answers.numel()


@torch.no_grad()
def draw(
    model: JanusForConditionalGeneration,
    mosaic: Mosaic,
    prompts: Sequence[Sequence[int]],
    temperature: float = 0.0,
    pictures: Tensor | None = None,
) -> Tensor:
    """Codes [prompts, 65]; temperature 0 takes the likeliest code each time. `pictures` are those to be edited."""
    inner = model.model
    padded, mask = pad_left(prompts)
    embedded = embed_prompts(model, padded, pictures)
    cache, drawn = None, torch.empty((len(prompts), 0), dtype=torch.long)
    for position in range(mosaic.tokens):
        step = inner.language_model(inputs_embeds=embedded, attention_mask=mask, past_key_values=cache, use_cache=True)
        cache, allowed = step.past_key_values, mosaic.allowed(position)
        logits = inner.generation_head(step.last_hidden_state[:, -1])[:, allowed]
        if temperature > 0:
            code = torch.multinomial((logits / temperature).softmax(-1), 1)
        else:
            code = logits.argmax(-1, keepdim=True)
        code = code + allowed.start
        drawn = torch.cat([drawn, code], dim=1)
        embedded = model.prepare_embeddings_for_image_generation(code)
        mask = torch.cat([mask, torch.ones_like(code)], dim=1)
    return drawn


def held_out_scenes(codebook: Codebook, count: int, *, pair: bool, seed: int) -> list[Scene]:
    rng = Random(seed)  # noqa: S311 - a fixed evaluation set, not a secret
    return [codebook.world.sample_held_out(rng, pair=pair) for _ in range(count)]


def score(
    model: JanusForConditionalGeneration,
    codebook: Codebook,
    tokenizer: PreTrainedTokenizerFast,
    scenes: Sequence[Scene],
    *,
    ask_judge: bool = False,
) -> Score:
    """Greedy pictures of these scenes against their true codes."""
    drawn = draw(model, codebook.mosaic, [prompt_tokens(tokenizer, plain_caption(scene)) for scene in scenes])
    return score_codes(codebook, drawn, scenes, ask_judge=ask_judge)


def score_codes(codebook: Codebook, drawn: Tensor, scenes: Sequence[Scene], *, ask_judge: bool = False) -> Score:
    """These pictures against the true codes of these scenes."""
    truth = encode_scenes(codebook, scenes)
    wanted = truth[:, 1:] != codebook.mosaic.empty
    seen = wanted | (drawn[:, 1:] != codebook.mosaic.empty)  # a tile astray, of what should have gone, is wrong too
    shares = ((drawn[:, 1:] == truth[:, 1:]) & wanted).sum(1) / seen.sum(1)
    ground = drawn[:, 0] == truth[:, 0]
    exact = ground & (shares > TILES_RIGHT)
    judged = None
    if ask_judge:
        pictures = [codebook.mosaic.decode(codes) for codes in drawn.tolist()]
        right = [judge(codebook.world, *pair).exact for pair in zip(pictures, scenes, strict=True)]
        judged = sum(right) / len(right)
    return Score(exact.float().mean().item(), ground.float().mean().item(), shares.mean().item(), judged)
