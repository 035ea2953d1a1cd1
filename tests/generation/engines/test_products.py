"""Products of rows and weights: as the layers themselves, and for each row the same whatever its company."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import LlamaConfig, LlamaModel

from generation.engines.int8 import Int8Product, works_in_int8
from generation.engines.llama import Library, Llama, language_of
from generation.engines.products import Packed, Plain, joined, maker_for, packs

WIDE = 2048  # from here on oneDNN has another way for a single row


def layers(*, bias: bool, width: int = 64) -> list[nn.Linear]:
    torch.manual_seed(1)
    return [nn.Linear(width, outputs, bias=bias) for outputs in (48, 16, 32)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("make", [Plain, Packed])
def test_joined_layers_give_what_each_gave(make: type[Plain | Packed], bias: bool) -> None:
    apart = layers(bias=bias)
    rows = torch.randn(3, 64)
    with torch.inference_mode():
        expected = torch.cat([layer(rows) for layer in apart], dim=1)
        assert torch.allclose(make(apart)(rows), expected, atol=1e-5)


def test_weights_are_held_once() -> None:
    apart = layers(bias=True)
    held = sum(layer.weight.nbytes + layer.bias.nbytes for layer in apart)
    assert Packed(copy.deepcopy(apart)).size_bytes == held
    plain = copy.deepcopy(apart)
    product = Plain(plain)
    assert product.size_bytes == 0
    assert all(layer.weight.untyped_storage().data_ptr() == product._weight.data_ptr() for layer in plain)
    packed = copy.deepcopy(apart)
    Packed(packed)
    assert all(layer.weight.numel() == 0 for layer in packed)


def test_weights_that_lie_one_behind_the_other_are_joined_without_a_copy(tmp_path: Path) -> None:
    given = layers(bias=False, width=WIDE)
    save_file({f"{number}": layer.weight.detach() for number, layer in enumerate(given)}, tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", "pt") as opened:
        mapped = [opened.get_tensor(f"{number}") for number in range(len(given))]
    for layer, weight in zip(given, mapped, strict=True):
        layer.weight = nn.Parameter(weight, requires_grad=False)
    view, _ = joined(given, view=True)
    copied, _ = joined(given)
    assert view.data_ptr() == mapped[0].data_ptr() != copied.data_ptr()
    assert torch.equal(view, copied)
    backwards, _ = joined(given[::-1], view=True)
    assert torch.equal(backwards, torch.cat([layer.weight for layer in given[::-1]]))


@pytest.mark.parametrize("make", [Packed, Int8Product])
def test_a_row_does_not_heed_its_company(make: type[Packed | Int8Product]) -> None:
    if not (packs() if make is Packed else works_in_int8()):
        pytest.skip("this machine cannot")
    product = make(layers(bias=True, width=WIDE))
    rows = torch.randn(9, WIDE) * torch.logspace(-2, 2, 9).unsqueeze(1)
    with torch.inference_mode():
        together = product(rows)
        for count in range(1, 9):
            assert torch.equal(product(rows[:count]), together[:count])
            assert torch.equal(product(rows[-count:].contiguous()), together[-count:])


def test_mixed_biases_are_refused() -> None:
    with pytest.raises(ValueError, match="bias"):
        Packed([nn.Linear(8, 8), nn.Linear(8, 8, bias=False)])


def test_int8_comes_close() -> None:
    if not works_in_int8():
        pytest.skip("this machine cannot")
    apart = layers(bias=True, width=256)
    rows = torch.randn(4, 256)
    with torch.inference_mode():
        expected = torch.cat([layer(rows) for layer in apart], dim=1)
        found = Int8Product(apart)(rows)
    assert (found - expected).abs().mean() < 0.02 * expected.abs().mean()
    assert not torch.equal(found, expected)


def llama(dtype: torch.dtype = torch.float32, **changes: object) -> LlamaModel:
    torch.manual_seed(2)
    settings = {
        "vocab_size": 16,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 64,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }
    network = LlamaModel(LlamaConfig(**{**settings, **changes})).to(dtype).eval()
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim == 2:
                weight.mul_(4)
    return network


LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


@pytest.mark.parametrize(
    ("changes", "compact"),
    [
        ({}, True),
        ({"num_key_value_heads": 2}, True),
        ({"head_dim": 24, "attention_bias": True, "mlp_bias": True}, True),
        ({"rope_parameters": LLAMA3}, True),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}}, False),
        ({"hidden_act": "gelu"}, False),
    ],
)
def test_the_compact_forward_is_the_librarys(changes: dict[str, object], compact: bool) -> None:
    reference = Library(llama(**changes))
    language = language_of(llama(**changes), maker_for(torch.empty(0)))
    assert isinstance(language, Llama if compact else Library), "what is not known is left to the library"
    prompts = [torch.randn(2, 7, 64), torch.randn(1, 5, 64)]
    with torch.inference_mode():
        ours = [language.remember(len(prompt), 12) for prompt in prompts]
        theirs = [reference.remember(len(prompt), 12) for prompt in prompts]
        for prompt, own, their in zip(prompts, ours, theirs, strict=True):
            assert torch.allclose(language.read(prompt, own), reference.read(prompt, their), atol=2e-5)
        for _ in range(4):
            rows = torch.randn(3, 64)
            assert torch.allclose(language.step(rows, ours), reference.step(rows, theirs), atol=2e-5)


def test_in_half_precision_too() -> None:
    reference, language = Library(llama(torch.bfloat16)), Llama(llama(torch.bfloat16), Plain)
    prompt = torch.randn(2, 7, 64, dtype=torch.bfloat16)
    with torch.inference_mode():
        own, their = language.remember(2, 12), reference.remember(2, 12)
        assert torch.allclose(language.read(prompt, own), reference.read(prompt, their), atol=0.1)
        rows = torch.randn(2, 64, dtype=torch.bfloat16)
        assert torch.allclose(language.step(rows, [own]), reference.step(rows, [their]), atol=0.1)


def test_memories_of_any_age_are_stepped_side_by_side() -> None:
    language = Llama(llama(), maker_for(torch.empty(0)))
    with torch.inference_mode():
        prompts = [torch.randn(1, length, 64) for length in (3, 9)]
        rows = torch.randn(2, 64)
        apart = []
        for prompt, row in zip(prompts, rows, strict=True):
            memory = language.remember(1, 12)
            language.read(prompt, memory)
            apart.append(language.step(row.unsqueeze(0), [memory]))
        memories = [language.remember(1, 12) for _ in prompts]
        for prompt, memory in zip(prompts, memories, strict=True):
            language.read(prompt, memory)
        assert torch.equal(language.step(rows, memories), torch.cat(apart))
        assert [memory.length for memory in memories] == [4, 10]
