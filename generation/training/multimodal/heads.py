"""Four more attention heads for each layer, for the picture that was handed in. At first nothing comes of them.

What they look at is given from the start; what they bring from there, and when they should look elsewhere, is learned.
Left to chance, both ways of looking took longer to form than all the rest of following takes.
"""

import copy

import torch
from torch import Tensor
from torch.nn import functional
from transformers import JanusForConditionalGeneration, PreTrainedTokenizerFast
from transformers.models.llama.modeling_llama import LlamaAttention

from generation.training.multimodal.architecture import COMMON, HEAD_WIDTH, HEADS
from generation.training.multimodal.roles import ROLES
from generation.training.multimodal.vocabulary import words_of
from generation.training.world import World

COPYING, MATCHING = (HEADS, HEADS + 2), (HEADS + 1, HEADS + 3)  # which heads
ALL = HEADS + 4  # stock Llama wants a divisor of the width
PICTURE_BACK = 66  # places from the one where a tile is decided back to the same tile of the picture handed in
COPYING_SHARPNESS, COPYING_WAVES = 24.0, 12  # how sure the copying head is, and of how many of its frequencies
SLOW = slice(20, 31)  # frequencies that hardly turn over the length of a sequence: for what, not for where
MATCHED = 2 * (SLOW.stop - SLOW.start)  # numbers of a matching head that tell what
LAST = 31  # the slowest of all
MATCHING_SHARPNESS, UNLIKE_PATCHES, ALWAYS = 1.5, 1.0, 8.0
_HALF = HEAD_WIDTH // 2  # a frequency turns the numbers i and i + half


def can_follow(model: JanusForConditionalGeneration) -> bool:
    """Whether it has these heads."""
    heads: int = model.config.text_config.num_attention_heads
    return heads == ALL


@torch.no_grad()
def with_following_heads(
    model: JanusForConditionalGeneration, world: World, tokenizer: PreTrainedTokenizerFast
) -> JanusForConditionalGeneration:
    """The same network, drawing the same pictures, with these heads in each layer."""
    wide = _widened(model)
    words = wide.model.language_model.embed_tokens.weight
    nouns = _directions(words[tokenizer.convert_tokens_to_ids(noun_words(world))])
    roles = functional.normalize(words[tokenizer.convert_tokens_to_ids(list(ROLES[1:]))], dim=1)
    frequencies = wide.model.language_model.rotary_emb.inv_freq[:COPYING_WAVES]
    for layer in wide.model.language_model.layers:
        for head in COPYING:
            _look_back(layer.self_attn, head, frequencies)
        for number, head in enumerate(MATCHING):
            some = nouns[number * MATCHED : (number + 1) * MATCHED]
            _look_for_nouns(layer.self_attn, head, layer.input_layernorm.weight, some, roles.sum(0))
    return wide


def noun_words(world: World) -> list[str]:
    """The words that name nouns and nothing else."""
    return [word for word in words_of(text for noun in world.nouns for text in noun.words) if word not in COMMON]


def _widened(model: JanusForConditionalGeneration) -> JanusForConditionalGeneration:
    """With biases and with room for the new heads, whose output counts for nothing."""
    config = copy.deepcopy(model.config)
    text, old = config.text_config, model.config.text_config.num_attention_heads * HEAD_WIDTH
    text.num_attention_heads = text.num_key_value_heads = ALL
    text.attention_bias = True
    wide = JanusForConditionalGeneration(config)
    wide.generation_config = model.generation_config
    values = model.state_dict()
    for name, value in wide.state_dict().items():
        if name not in values:  # a bias
            value.zero_()
        elif value.shape == values[name].shape:
            value.copy_(values[name])
        elif name.endswith("o_proj.weight"):
            value[:, :old] = values[name]
            value[:, old:] = 0
        else:
            value[:old] = values[name]
            value[old:] *= float("v_proj" in name)
    return wide


def _look_back(attention: LlamaAttention, head: int, frequencies: Tensor) -> None:
    """A copying head looks `PICTURE_BACK` places back, by its biases alone.

    Under rotary positions the score of two constant vectors is a sum of cosines of their distance, here of one that
    is highest at that distance.
    """
    first, strength = head * HEAD_WIDTH, COPYING_SHARPNESS**0.5
    waves = torch.arange(len(frequencies)) + first
    attention.q_proj.bias[waves] = strength
    attention.k_proj.bias[waves] = strength * torch.cos(PICTURE_BACK * frequencies)
    attention.k_proj.bias[waves + _HALF] = strength * torch.sin(PICTURE_BACK * frequencies)


def _look_for_nouns(attention: LlamaAttention, head: int, gain: Tensor, directions: Tensor, role: Tensor) -> None:
    """A matching head looks for the same noun, wherever it stands; for the word rather than for another patch.

    Patches have a role, words have none.
    """
    first, slow = head * HEAD_WIDTH, torch.arange(SLOW.start, SLOW.stop)
    places = (torch.cat([slow, slow + _HALF]) + first)[: len(directions)]
    for projection in (attention.q_proj, attention.k_proj):
        projection.weight[places] = MATCHING_SHARPNESS * directions / gain
    attention.q_proj.bias[first + LAST] = ALWAYS
    attention.k_proj.weight[first + LAST] = -UNLIKE_PATCHES * role / gain


def _directions(nouns: Tensor) -> Tensor:
    """[directions, width]: those in which nouns differ, most first; what all nouns share is in none of them."""
    mean = functional.normalize(nouns.mean(0), dim=0)
    apart = nouns - torch.outer(nouns @ mean, mean)
    found: Tensor = torch.linalg.svd(apart - apart.mean(0), full_matrices=False).Vh
    return found
