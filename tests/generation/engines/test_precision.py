"""Numbers: chosen by trying, watched where they fail, widened part by part, and the picture says which drew it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch.nn.modules.module import register_module_forward_hook

from generation.engines import precision
from generation.engines.attempts import Attempts
from generation.engines.base import CancelToken
from generation.engines.device import Device
from generation.engines.errors import BlankPictureError, InvalidNumbersError
from generation.engines.fragments import Fragment, Kind, Note
from generation.engines.janus_core import JanusCore
from generation.engines.memory import MemoryManager
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.precision import RUNGS, attention_in, wider
from tests.generation.engines import tiny
from tests.generation.engines.drawing import poison

CPU = Device("cpu")
WISH = GenerationParams("a cat", 32, 32, 7, steps=6)


@pytest.fixture
def memory() -> Iterator[MemoryManager]:
    manager = MemoryManager(Device("cpu"))
    yield manager
    manager.purge("the test is over")


def attempts(memory: MemoryManager, folder: Path, family: str, rung: str, **changes: Any) -> Attempts:
    params = GenerationParams(**{"prompt": "a cat", "width": 32, "height": 32, "seed": 7, "steps": 6, **changes})
    if family == "multimodal":
        params = GenerationParams("a cat", params.width, params.height, 7, temperature=1)
    return Attempts(memory, CheckpointSpec("tiny", str(folder), family, precision=rung), params, CancelToken())


def notes_and_final(tries: Attempts) -> tuple[list[str], Fragment]:
    """The rungs that were stepped to, and the picture."""
    items = list(tries.run())
    rungs = [item.detail["precision"] for item in items if isinstance(item, Note) and item.kind == "precision.retry"]
    finals = [item for item in items if isinstance(item, Fragment) and item.kind is Kind.FINAL]
    assert len(finals) == 1
    return rungs, finals[0]


@contextmanager
def spoiled(part: str, dtypes: set[torch.dtype], value: float = torch.nan) -> Iterator[None]:
    """What modules of this class give in these types is spoilt, as a kernel would that does not work there."""

    def spoil(module: torch.nn.Module, _: object, output: Any) -> Any:
        if type(module).__name__ != part or next(module.parameters()).dtype not in dtypes:
            return None
        first = output[0] if isinstance(output, tuple) else getattr(output, "sample", output)
        first.view(-1)[0] = value
        return output

    hook = register_module_forward_hook(spoil)
    try:
        yield
    finally:
        hook.remove()


# -- choosing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rung", RUNGS)
def test_every_rung_works_on_this_cpu(rung: str) -> None:
    assert precision.works(CPU, rung)


def test_a_type_whose_results_are_wrong_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    calculate = precision._calculate

    def wrong(device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        return calculate(device, dtype) * (1.5 if dtype is torch.bfloat16 else 1)

    monkeypatch.setattr(precision, "_calculate", wrong)
    precision._probe.cache_clear()
    try:
        assert not precision.works(CPU, "bf16") and precision.works(CPU, "fp16")
        assert wider(CPU, "fp16-attention-decoder-fp32") == "fp32", "bf16 is passed over"
    finally:
        precision._probe.cache_clear()


def test_the_ladder_widens_what_failed() -> None:
    assert wider(CPU, "fp16") == "fp16-attention-fp32"
    assert wider(CPU, "fp16", "decoder") == "fp16-attention-decoder-fp32"
    assert wider(CPU, "fp16-attention-decoder-fp32") == "bf16"
    assert wider(CPU, "bf16") == "fp32"
    assert wider(CPU, "bf16", "decoder") == "bf16-decoder-fp32"
    assert wider(CPU, "fp32") is wider(CPU, "fp32", "decoder") is None


def test_attention_in_wide_numbers_does_not_overflow() -> None:
    query = torch.full((1, 1, 4, 8), 250.0, dtype=torch.float16)
    value = torch.randn(1, 1, 4, 8).half()
    assert not torch.isfinite(query @ query.transpose(2, 3)).all(), "in fp16 these scores are infinite"
    with attention_in(RUNGS["fp16-attention-fp32"]):
        mixed = F.scaled_dot_product_attention(query, query, value)
    assert mixed.dtype is torch.float16
    assert torch.allclose(mixed.float(), value.float().mean(2, keepdim=True).expand_as(mixed), atol=1e-2)


# -- retries -----------------------------------------------------------------------------------------------------------


def test_a_picture_says_which_precision_drew_it(memory: MemoryManager, diffusion_folder: Path) -> None:
    for rung in ("auto", "bf16", "fp16-attention-decoder-fp32"):
        rungs, final = notes_and_final(attempts(memory, diffusion_folder, "diffusion", rung))
        assert rungs == []
        assert final.precision == ("fp32" if rung == "auto" else rung)
        assert final.memory == "whole"


@pytest.mark.parametrize("rung", ["fp16", "bf16", "fp16-attention-decoder-fp32"])
@pytest.mark.parametrize("changes", [{}, {"capability": "image_to_image", "strength": 0.7}])
def test_parts_of_different_types_work_together(
    memory: MemoryManager, tmp_path: Path, rung: str, changes: dict[str, Any]
) -> None:
    folder = tiny.save_diffusion(tmp_path / "diffusion", large_decoder=True)
    if changes:
        changes = {**changes, "source": _png()}
    _, narrow = notes_and_final(attempts(memory, folder, "diffusion", rung, **changes))
    memory.purge("the next is read in full")
    _, full = notes_and_final(attempts(memory, folder, "diffusion", "fp32", **changes))
    assert np.abs(narrow.pixels.astype(int) - full.pixels).mean() < 12, "nearly the same picture"


def test_a_network_that_fails_in_narrow_numbers_is_widened_and_that_is_remembered(
    memory: MemoryManager, diffusion_folder: Path
) -> None:
    with spoiled("UNet2DConditionModel", {torch.float16, torch.bfloat16}):
        rungs, final = notes_and_final(attempts(memory, diffusion_folder, "diffusion", "fp16"))
        assert rungs == ["fp16-attention-fp32", "bf16", "fp32"]
        assert final.precision == "fp32"
        rungs, final = notes_and_final(attempts(memory, diffusion_folder, "diffusion", "fp16"))
        assert rungs == [], "the next wish does not fail again"
    plain = notes_and_final(attempts(memory, diffusion_folder, "diffusion", "fp32"))[1]
    assert np.array_equal(final.pixels, plain.pixels)


def test_a_failing_step_is_found_at_once(memory: MemoryManager, diffusion_folder: Path) -> None:
    tries = attempts(memory, diffusion_folder, "diffusion", "fp32", steps=40)
    seen = []
    with spoiled("UNet2DConditionModel", {torch.float32}), pytest.raises(InvalidNumbersError, match="after step 1"):
        seen.extend(tries.run())
    assert not [item for item in seen if isinstance(item, Fragment)]


def test_a_decoder_that_overflows_in_half_precision_is_widened_alone(memory: MemoryManager, tmp_path: Path) -> None:
    """The very failure of SDXL's decoder: its activations are too large for fp16 and fine in fp32."""
    folder = tiny.save_diffusion(tmp_path / "diffusion", large_decoder=True)
    _overflow(folder / "vae" / "diffusion_pytorch_model.safetensors")
    rungs, final = notes_and_final(attempts(memory, folder, "diffusion", "fp16"))
    assert rungs == ["fp16-attention-decoder-fp32"], "the network keeps its narrow numbers"
    memory.purge("the next is read in full")
    full = notes_and_final(attempts(memory, folder, "diffusion", "fp32"))[1]
    assert np.abs(final.pixels.astype(int) - full.pixels).mean() < 12
    assert notes_and_final(attempts(memory, folder, "diffusion", "bf16"))[0] == [], "bf16 has the range"


@pytest.mark.parametrize("place", ["score_codes", "read", "step"])
def test_logits_that_fail_are_widened(
    place: str, memory: MemoryManager, mosaic_folder: Path, janus_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the head that scores codes, or what the language model thinks of the words or of a code."""
    calculate = getattr(JanusCore, place)

    def spoil(self: JanusCore, *given: Any) -> torch.Tensor:
        found: torch.Tensor = calculate(self, *given)
        if found.dtype is torch.bfloat16:
            found.view(-1)[0] = torch.nan
        return found

    monkeypatch.setattr(JanusCore, place, spoil)
    for folder, size in ((mosaic_folder, 32), (janus_folder, 16)):
        tries = attempts(memory, folder, "multimodal", "bf16", width=size, height=size)
        rungs, final = notes_and_final(tries)
        assert (rungs, final.precision) == (["fp32"], "fp32")


def test_wide_attention_in_a_transformer(memory: MemoryManager, mosaic_folder: Path) -> None:
    plain = notes_and_final(attempts(memory, mosaic_folder, "multimodal", "fp16"))
    wide = notes_and_final(attempts(memory, mosaic_folder, "multimodal", "fp16-attention-decoder-fp32"))
    assert (plain[1].precision, wide[1].precision) == ("fp16", "fp16-attention-decoder-fp32")


def test_a_decoder_of_codes_that_overflows_is_widened_alone(memory: MemoryManager, tmp_path: Path) -> None:
    folder = tiny.save_janus(tmp_path / "janus")
    _overflow(folder / "model.safetensors", "model.vqmodel.", 1000)
    rungs, _ = notes_and_final(attempts(memory, folder, "multimodal", "fp16", width=16, height=16))
    assert rungs == ["fp16-attention-decoder-fp32"]


def test_damaged_weights_fail_in_every_precision_with_the_reason(memory: MemoryManager, tmp_path: Path) -> None:
    folder = tiny.save_diffusion(tmp_path / "diffusion")
    poison(folder / "unet" / "diffusion_pytorch_model.safetensors", "conv_in.weight")
    tries = attempts(memory, folder, "diffusion", "bf16")
    with pytest.raises(InvalidNumbersError) as caught:
        list(tries.run())
    assert caught.value.code == "not_finite" and caught.value.hint
    assert tries.plan.precision == "fp32", "it was tried"


# -- blank pictures ----------------------------------------------------------------------------------------------------


def test_a_black_picture_is_drawn_again_in_wider_numbers(
    memory: MemoryManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.save_diffusion(tmp_path / "diffusion", large_decoder=True)
    _blacken_in(monkeypatch, {torch.bfloat16})
    rungs, final = notes_and_final(attempts(memory, folder, "diffusion", "bf16"))
    assert rungs == ["fp32"]
    assert final.pixels.std() > 0


def test_a_picture_that_stays_black_fails_and_is_never_handed_out(
    memory: MemoryManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.save_diffusion(tmp_path / "diffusion", large_decoder=True)
    _blacken_in(monkeypatch, {torch.float16, torch.bfloat16, torch.float32})
    seen: list[Any] = []
    with pytest.raises(BlankPictureError, match="nothing but the colour #000000") as caught:
        seen.extend(attempts(memory, folder, "diffusion", "fp16").run())
    assert caught.value.hint
    assert not [item for item in seen if isinstance(item, Fragment) and item.kind is Kind.FINAL]
    retries = [item for item in seen if isinstance(item, Note) and item.kind == "precision.retry"]
    assert len(retries) == 1, "one more chance, no more"


def _blacken_in(monkeypatch: pytest.MonkeyPatch, dtypes: set[torch.dtype]) -> None:
    """The decoder gives minus one everywhere, as broken kernels do, without a value that is no number."""
    from diffusers import AutoencoderKL

    decode = AutoencoderKL._decode

    def black(self: AutoencoderKL, latents: torch.Tensor, **named: Any) -> Any:
        decoded = decode(self, latents, **named)
        sample = decoded[0] if isinstance(decoded, tuple) else decoded.sample
        if sample.dtype in dtypes:
            sample.fill_(-1)
        return decoded

    monkeypatch.setattr(AutoencoderKL, "_decode", black)


def _overflow(weights: Path, prefix: str = "", before: float = 1) -> None:
    """Make the decoder's first convolutions loud, which its norms undo later: too much for fp16 alone."""
    tensors = load_file(weights)
    loud = {"decoder.conv_in": 200_000.0, "post_quant_conv": before}
    for name, factor in ((f"{layer}.{kind}", loud[layer]) for layer in loud for kind in ("weight", "bias")):
        if prefix + name in tensors:
            tensors[prefix + name] *= factor
            assert tensors[prefix + name].abs().max() < 65_504, "the weights themselves fit"
    save_file(tensors, weights, metadata={"format": "pt"})


def _png() -> bytes:
    from io import BytesIO

    from PIL import Image

    buffer = BytesIO()
    Image.linear_gradient("L").convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()
