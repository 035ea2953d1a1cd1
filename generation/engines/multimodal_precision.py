"""The types of a transformer of transformers and its picture decoder, once it has been read."""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from generation.engines.precision import FULL, Numbers

WIDE_ATTENTION = "sdpa_in_float32"


def reading_dtype(numbers: Numbers) -> torch.dtype:
    """The widest that any part needs: what was read narrow cannot be widened again."""
    return FULL if FULL in (numbers.network, numbers.decoder) else numbers.network


def set_numbers(network: PreTrainedModel, decoder: torch.nn.Module, numbers: Numbers) -> None:
    """Give every part of `network`, read in `reading_dtype`, its type; `decoder` is one of its parts."""
    if numbers.decoder is not numbers.network:
        kept = {id(tensor) for tensor in [*decoder.parameters(), *decoder.buffers()]}
        for tensor in [*network.parameters(), *network.buffers()]:
            if id(tensor) not in kept and tensor.is_floating_point():
                tensor.data = tensor.data.to(numbers.network)
    if numbers.attention is not numbers.network:
        network.set_attn_implementation(WIDE_ATTENTION)


def _wide(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **rest: Any) -> Any:
    """Some networks hand the mask over by its name, so it must be called as the library calls it."""
    mask = attention_mask
    wide = mask.float() if mask is not None and mask.is_floating_point() else mask
    mixed, weights = sdpa_attention_forward(module, query.float(), key.float(), value.float(), wide, **rest)
    return mixed.to(query.dtype), weights


AttentionInterface.register(WIDE_ATTENTION, _wide)
AttentionMaskInterface.register(WIDE_ATTENTION, sdpa_mask)
