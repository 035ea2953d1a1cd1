"""The forward of a Llama with its weights and nothing else: what a code costs beside reading weights is kept small.

Every sequence has a memory of its own, of the length it will need, so sequences of any age are stepped side by side.
Only the products see them together, and those give a row the same whatever its company (products.py): a picture is the
same, to the bit, alone and in a batch. A Llama that has what is not known here is run by transformers' own forward.
"""

from collections.abc import Sequence
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import nn
from transformers import DynamicCache, Emu3TextModel, LlamaConfig, LlamaModel
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm

from generation.engines.products import Maker

STILL = frozenset({"default", "linear", "llama3"})  # kinds of rotary positions that do not change with the length


class Language(Protocol):
    """Reads a prompt, then takes one vector after the other. What a row's memory holds is its own business."""

    size_bytes: int

    def remember(self, rows: int, length: int) -> "Memory":
        """Room for that many rows of one length."""

    def read(self, vectors: torch.Tensor, memory: "Memory") -> torch.Tensor:
        """[rows, length, width] to [rows, width]: what follows the last one. Once for a memory."""

    def step(self, vectors: torch.Tensor, memories: Sequence["Memory"]) -> torch.Tensor:
        """[rows of all memories, width] to the same: one vector more for each row."""


class Memory:
    """Keys and values of rows that grow together: [layers, 2, rows, heads, length, width of a head]."""

    def __init__(self, rows: int, room: torch.Tensor | None = None, cache: DynamicCache | None = None) -> None:
        self.rows, self.length, self.room, self.cache = rows, 0, room, cache

    def write(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add [rows, heads, n, width] after those there are; all of them."""
        assert self.room is not None  # noqa: S101 made by Llama
        end = self.length + keys.shape[2]
        stored = self.room[layer]
        stored[0, :, :, self.length : end] = keys
        stored[1, :, :, self.length : end] = values
        return stored[0, :, :, :end], stored[1, :, :, :end]


class Norm:
    """x / sqrt(mean(x^2) + eps) * weight. In float32 with four kernels where torch's own takes nine.

    mean(x^2) + eps is (|x|^2 + width eps) / width, and hypot the root of such a sum.
    """

    def __init__(self, norm: LlamaRMSNorm) -> None:
        self._norm = norm
        weight = norm.weight.detach()
        self._small = torch.tensor(len(weight) * norm.variance_epsilon, device=weight.device).sqrt()
        self._scaled = weight * len(weight) ** 0.5

    def __call__(self, flow: torch.Tensor) -> torch.Tensor:
        """[rows, width] or more; the same bits for a row whatever its company."""
        if flow.dtype is not torch.float32:
            found: torch.Tensor = self._norm(flow)
            return found
        lengths = torch.linalg.vector_norm(flow, dim=-1, keepdim=True)
        return (flow / torch.hypot(lengths, self._small)).mul_(self._scaled)


class Layer:
    """Weights of one layer, ready to be multiplied."""

    def __init__(self, layer: LlamaDecoderLayer, make: Maker) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.before, self.between = Norm(layer.input_layernorm), Norm(layer.post_attention_layernorm)
        self.heads = make([attention.q_proj, attention.k_proj, attention.v_proj])
        self.out, self.down = make([attention.o_proj]), make([mlp.down_proj])
        self.gates = make([mlp.gate_proj, mlp.up_proj])
        self.size_bytes = sum(part.size_bytes for part in (self.heads, self.out, self.down, self.gates))


class Llama:
    """The compact forward."""

    def __init__(self, network: LlamaModel, make: Maker) -> None:
        config = network.config
        self._queries, self._keys = config.num_attention_heads, config.num_key_value_heads
        self._head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._norm = Norm(network.norm)
        self._layers = [Layer(cast(LlamaDecoderLayer, layer), make) for layer in network.layers]
        self._like = network.norm.weight
        self._turns = _turns(network)
        self.size_bytes = sum(layer.size_bytes for layer in self._layers)

    def remember(self, rows: int, length: int) -> Memory:
        """Pages of it are taken only as they are written."""
        return Memory(rows, self._like.new_empty(len(self._layers), 2, rows, self._keys, length, self._head))

    def read(self, vectors: torch.Tensor, memory: Memory) -> torch.Tensor:
        """The whole prompt at once."""
        rows, length, width = vectors.shape
        turns = self._turns[:, :length].repeat(1, rows, 1).unsqueeze(2)
        flow = vectors.reshape(rows * length, width)
        for place, layer in enumerate(self._layers):
            heads = self._split(layer, flow, turns)
            query, key, value = (part.view(rows, length, -1, self._head).transpose(1, 2) for part in heads)
            key, value = memory.write(place, key, value)
            seen = self._attend(query, key, value, causal=length > 1).transpose(1, 2)
            flow = self._rest(layer, flow, seen.reshape(rows * length, -1))
        memory.length = length
        return self._norm(flow.view(rows, length, width)[:, -1].contiguous())

    def step(self, vectors: torch.Tensor, memories: Sequence[Memory]) -> torch.Tensor:
        """Attention memory by memory, all else together."""
        places = [memory.length for memory in memories for _ in range(memory.rows)]
        turns = self._turns.index_select(1, torch.tensor(places, device=vectors.device)).unsqueeze(2)
        sizes = [memory.rows for memory in memories]
        flow = vectors
        for place, layer in enumerate(self._layers):
            whole = [part.unsqueeze(2) for part in self._split(layer, flow, turns)]
            parts = [torch.split(part, sizes) if len(sizes) > 1 else (part,) for part in whole]
            seen = []
            for memory, query, key, value in zip(memories, *parts, strict=True):
                key, value = memory.write(place, key, value)
                seen.append(self._attend(query, key, value).reshape(memory.rows, -1))
            flow = self._rest(layer, flow, seen[0] if len(seen) == 1 else torch.cat(seen))
        for memory in memories:
            memory.length += 1
        return self._norm(flow)

    def _split(self, layer: Layer, flow: torch.Tensor, turns: torch.Tensor) -> Sequence[torch.Tensor]:
        """[rows, heads, width of a head] each: queries and keys, turned by their positions, and values."""
        heads = layer.heads(layer.before(flow)).view(len(flow), -1, self._head)
        turned, values = torch.split(heads, [self._queries + self._keys, self._keys], dim=1)
        first, second = turned.chunk(2, dim=-1)
        turned = turned * turns[0] + torch.cat((second, first), dim=-1) * turns[1]
        return [*torch.split(turned, [self._queries, self._keys], dim=1), values]

    def _attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, causal: bool = False
    ) -> torch.Tensor:
        return F.scaled_dot_product_attention(
            query, key, value, is_causal=causal, enable_gqa=self._queries != self._keys
        )

    def _rest(self, layer: Layer, flow: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """After the attention: its own product, and the two of the feed-forward part."""
        flow = layer.out(seen) + flow
        gate, up = layer.gates(layer.between(flow)).chunk(2, dim=-1)
        return layer.down(F.silu(gate) * up) + flow


class Library:
    """transformers' own forward, sequence by sequence: right for every config, with nothing gained from a batch."""

    size_bytes = 0

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def remember(self, rows: int, length: int) -> Memory:
        """It grows as it is written."""
        return Memory(rows, cache=DynamicCache(config=self._network.config))

    def read(self, vectors: torch.Tensor, memory: Memory) -> torch.Tensor:
        """The whole prompt at once."""
        found = self._network(inputs_embeds=vectors, past_key_values=memory.cache, use_cache=True)
        last: torch.Tensor = found.last_hidden_state[:, -1]
        return last

    def step(self, vectors: torch.Tensor, memories: Sequence[Memory]) -> torch.Tensor:
        """One after the other."""
        parts = torch.split(vectors.unsqueeze(1), [memory.rows for memory in memories])
        return torch.cat([self.read(part, memory) for part, memory in zip(parts, memories, strict=True)])


def language_of(network: nn.Module, make: Maker) -> Language:
    """The compact forward where it knows all that the config asks for; its weights are then the products'."""
    llama = isinstance(network, LlamaModel | Emu3TextModel)  # that of Emu3 is one by another name
    return Llama(cast(LlamaModel, network), make) if llama and is_known(network.config) else Library(network)


def is_known(config: LlamaConfig) -> bool:
    """Whether the compact forward does all that this config asks for."""
    kind = (config.rope_parameters or {}).get("rope_type", "default")
    return config.hidden_act in {"silu", "swish"} and kind in STILL


def _turns(network: LlamaModel) -> torch.Tensor:
    """[2, positions, width of a head]: cosines, and sines with the sign that goes with the half they are added to."""
    positions = torch.arange(network.config.max_position_embeddings, device=network.norm.weight.device)
    cosines, sines = network.rotary_emb(network.norm.weight, positions.unsqueeze(0))
    sines = sines.clone()
    sines[..., : sines.shape[-1] // 2].neg_()
    return torch.stack([cosines[0], sines[0]])
