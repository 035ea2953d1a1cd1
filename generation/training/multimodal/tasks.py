"""The tasks of one set of weights: to draw from words, to describe in words, to edit by instruction.
Two more are for practice only. To restate a caption in the words of a description teaches to say what it reads; to copy
a picture teaches to draw what it sees.

Makes their batches and their losses. Only answers are learned; words, pictures and instructions are given.
"""

from collections.abc import Mapping, Sequence
from random import Random

import torch
from torch import Tensor
from torch.nn import functional
from transformers import JanusForConditionalGeneration, PreTrainedTokenizerFast

from generation.training.multimodal.batches import Batch, encode_scenes, pad_left, sample_batches
from generation.training.multimodal.codebook import Codebook
from generation.training.multimodal.drawing import code_loss
from generation.training.multimodal.looking import embed_prompts, instruction_tokens, question_tokens, stack_pictures
from generation.training.multimodal.plan import Task
from generation.training.multimodal.vocabulary import EOI, EOS, PAD
from generation.training.world import KEEP, QUESTIONS, Edit, Scene, answer, caption, sample_described, sample_edit

STEPS = 4  # sampled at once, so that prompts of like length come together


def sample_steps(
    codebook: Codebook, tokenizer: PreTrainedTokenizerFast, rng: Random, parts: Mapping[Task, int]
) -> list[list[Batch]]:
    """`STEPS` steps, each with a batch of every task that has a part."""
    columns = []
    for task, size in parts.items():
        if task == "draw":
            columns.append(sample_batches(codebook, tokenizer, rng, size, STEPS))
        elif task == "edit":
            edits = [sample_edit(codebook.world, rng) for _ in range(size * STEPS)]
            edits.sort(key=lambda edit: len(edit.instruction.split()))
            columns.append([edit_batch(codebook, tokenizer, edits[at : at + size]) for at in _starts(size)])
        elif task == "copy":
            scenes = [sample_described(codebook.world, rng) for _ in range(size * STEPS)]
            columns.append([copy_batch(codebook, tokenizer, rng, scenes[at : at + size]) for at in _starts(size)])
        elif task == "restate":
            scenes = [codebook.world.sample(rng) for _ in range(size * STEPS)]
            columns.append([caption_batch(tokenizer, rng, scenes[at : at + size]) for at in _starts(size)])
        else:
            scenes = [sample_described(codebook.world, rng) for _ in range(size * STEPS)]
            columns.append([question_batch(codebook, tokenizer, rng, scenes[at : at + size]) for at in _starts(size)])
    return [list(step) for step in zip(*columns, strict=True)]


def _starts(size: int) -> range:
    return range(0, size * STEPS, size)


def look_at(codebook: Codebook, scenes: Sequence[Scene]) -> Tensor:
    """The pictures of these scenes: uint8 [n, 3, height, width]."""
    return stack_pictures([codebook.mosaic.decode(codes) for codes in encode_scenes(codebook, scenes).tolist()])


def edit_batch(codebook: Codebook, tokenizer: PreTrainedTokenizerFast, edits: Sequence[Edit]) -> Batch:
    prompts, mask = pad_left([instruction_tokens(tokenizer, edit.instruction) for edit in edits])
    pictures = look_at(codebook, [edit.source for edit in edits])
    return Batch(prompts, mask, encode_scenes(codebook, [edit.target for edit in edits]), pictures)


def copy_batch(codebook: Codebook, tokenizer: PreTrainedTokenizerFast, rng: Random, scenes: Sequence[Scene]) -> Batch:
    """The same picture once more."""
    prompts, mask = pad_left([instruction_tokens(tokenizer, rng.choice(KEEP)) for _ in scenes])
    return Batch(prompts, mask, encode_scenes(codebook, scenes), look_at(codebook, scenes))


def question_batch(
    codebook: Codebook, tokenizer: PreTrainedTokenizerFast, rng: Random, scenes: Sequence[Scene]
) -> Batch:
    """Describe these scenes, each asked in another wording."""
    prompts, mask = pad_left([question_tokens(tokenizer, rng.choice(QUESTIONS)) for _ in scenes])
    return Batch(prompts, mask, answer_words(tokenizer, scenes), look_at(codebook, scenes), in_words=True)


def caption_batch(tokenizer: PreTrainedTokenizerFast, rng: Random, scenes: Sequence[Scene]) -> Batch:
    """Put captions of these scenes into the words of an answer: to say what stands there, without having to see it."""
    prompts, mask = pad_left([[*tokenizer(caption(scene, rng))["input_ids"], EOI] for scene in scenes])
    return Batch(prompts, mask, answer_words(tokenizer, scenes), in_words=True)


def answer_words(tokenizer: PreTrainedTokenizerFast, scenes: Sequence[Scene]) -> Tensor:
    """[n, longest]: the words of the answers and <eos>, padded on the right."""
    answers = [[*tokenizer(answer(scene))["input_ids"][1:], EOS] for scene in scenes]
    longest = max(map(len, answers))
    return torch.tensor([[*words, *[PAD] * (longest - len(words))] for words in answers])


def task_loss(model: JanusForConditionalGeneration, batch: Batch, empty: int) -> Tensor:
    """Mean loss of the batch's answers."""
    return word_loss(model, batch) if batch.in_words else code_loss(model, batch, empty)


def word_loss(model: JanusForConditionalGeneration, batch: Batch) -> Tensor:
    """Mean cross-entropy of the answer's words, through the word head."""
    given = embed_prompts(model, batch.prompts, batch.pictures)
    said = model.model.language_model.embed_tokens(batch.answers[:, :-1])
    mask = torch.cat([batch.mask, torch.ones_like(batch.answers[:, :-1])], dim=1)
    hidden = model.model.language_model(
        inputs_embeds=torch.cat([given, said], dim=1), attention_mask=mask, use_cache=False
    )
    logits = model.lm_head(hidden.last_hidden_state[:, -batch.answers.shape[1] :])
    return functional.cross_entropy(logits.flatten(0, 1), batch.answers.flatten(), ignore_index=PAD)
