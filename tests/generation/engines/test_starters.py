"""The two starters that ship, through the room: any text is a picture or a clear error, a seed is a picture.

And they load offline with the stock classes of diffusers and transformers, with no code of ours.
"""

import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import generation
from generation.engines.client import RoomClient
from generation.engines.encoding import png
from generation.engines.errors import EngineError, InvalidParamsError, RoomError, RoomStalledError
from generation.engines.fragments import Kind
from generation.engines.inspection import inspect_checkpoint
from generation.engines.params import PROMPT_LIMIT, Capability, CheckpointSpec, GenerationParams
from generation.engines.protocol import EncodedFragment, EngineCrashedError, Figures, ProtocolError
from tests.generation.engines.rooms import SETTINGS, draw

pytestmark = pytest.mark.processes

STARTERS = Path(generation.__file__).parent / "starter"
FAMILIES = ("diffusion", "multimodal")
EDGE = 128
CRASHES = {EngineCrashedError.code, RoomError.code, RoomStalledError.code, ProtocolError.code}
SPECIAL = "<pad><bos><eos><unk><begin_of_image><end_of_image><image_placeholder><|endoftext|><|startoftext|><s></s>"
STRANGE = {
    "empty": "",
    "blank": " \t\n ",
    "emoji": "🐈🍕👩‍👩‍👧‍👦🏳️‍🌈",
    "longest": "cat " * (PROMPT_LIMIT // 4),
    "longest word": "x" * PROMPT_LIMIT,
    "longest emoji": "🐈" * PROMPT_LIMIT,
    "Cyrillic": "кот слева от пиццы на синем",
    "Chinese": "蓝色背景上的一只猫",
    "Arabic": "قطة على خلفية زرقاء",
    "right to left": "\u202ecat on blue\u202c",
    "combining": "c\u0301\u0300\u0302at" * 200,
    "control": "".join(map(chr, range(32))) + "\x7f\x80\x9f\ufeff\ufffe\uffff",
    "special": SPECIAL,
    "special among words": "cat <image_placeholder> left <pad> of <|endoftext|> pizza <begin_of_image> on blue",
    "many placeholders": "<image_placeholder>" * 200,
    "spelled special": "< image_placeholder > <IMAGE_PLACEHOLDER> <|ENDOFTEXT|>",
    "weights and braces": "((cat:1.5)) [pizza] {dog} %s %d \\x00 {0} $(id) <script>alert(1)</script>",
}


def starter(family: str) -> CheckpointSpec:
    return CheckpointSpec(f"starter-{family}", str(STARTERS / family), family)


def wish(prompt: str, family: str, seed: int = 7, capability: Capability = "text_to_image") -> GenerationParams:
    """At the checkpoint's own settings, but for the steps that are not looked at here."""
    steps = 2 if family == "diffusion" else None
    source = None if capability == "text_to_image" else png(np.full((EDGE, EDGE, 3), 200, dtype=np.uint8))
    return GenerationParams(prompt, EDGE, EDGE, seed, steps=steps, capability=capability, source=source)


def abilities() -> list[tuple[str, Capability]]:
    """What each starter says it can do."""
    return [(family, able) for family in FAMILIES for able in inspect_checkpoint(STARTERS / family).capabilities]


@pytest.fixture(scope="module")
def room() -> Iterator[RoomClient]:
    with RoomClient(SETTINGS) as opened:
        yield opened


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize(("family", "able"), abilities())
def test_strange_words_give_an_answer_or_a_clear_error(
    room: RoomClient, family: str, able: Capability, name: str
) -> None:
    pid = room.start().pid
    try:
        replies = list(room.generate(starter(family), wish(STRANGE[name], family, capability=able)))
    except EngineError as error:
        assert error.code not in CRASHES, error
        assert error.message and error.hint and "Traceback" not in error.message
    else:
        assert isinstance(replies[-1], Figures)
        finals = [reply for reply in replies if isinstance(reply, EncodedFragment) and reply.kind is Kind.FINAL]
        assert len(finals) == (0 if able == "describe" else 1)
        for final in finals:
            with Image.open(BytesIO(final.data)) as picture:
                assert picture.size == (EDGE, EDGE)
    status = room.status()
    assert status is not None and status.pid == pid, "the same room lives on"


@pytest.mark.parametrize("text", ["x" * (PROMPT_LIMIT + 1), "🐈" * (PROMPT_LIMIT + 1), "half a \udcff character"])
def test_what_is_too_long_or_no_text_is_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidParamsError, match=r"has 4,001 characters; 4,000 is the most|holds half a character"):
        wish(text, "diffusion")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_is_a_picture_and_survives_unloading(room: RoomClient, family: str) -> None:
    spec, words = starter(family), "a cat left of a pizza on blue"
    first = draw(room, spec, wish(words, family)).finals[0].data
    assert draw(room, spec, wish(words, family)).finals[0].data == first
    room.unload()
    assert draw(room, spec, wish(words, family)).finals[0].data == first
    if family == "diffusion":  # the other is sure of what it draws, so that many seeds give the same picture
        assert draw(room, spec, wish(words, family, seed=8)).finals[0].data != first


OFFLINE = """
import socket, sys
def refuse(*_, **__): raise AssertionError("it went to the network")
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
folder = sys.argv[1]
"""
STOCK = {
    "diffusion": """
import torch
from diffusers import StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained(folder)
pipe.set_progress_bar_config(disable=True)
draw = lambda: pipe("cat on blue", num_inference_steps=2, generator=torch.Generator().manual_seed(3)).images[0]
assert draw().size == (128, 128) and draw().tobytes() == draw().tobytes()
""",
    "multimodal": """
import torch
from transformers import AutoTokenizer, JanusForConditionalGeneration
network, told = JanusForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
missing = {name for name in told["missing_keys"] if name != "lm_head.weight"}
assert not missing and not told["unexpected_keys"] and not told["mismatched_keys"], told
words = AutoTokenizer.from_pretrained(folder)("cat on blue", return_tensors="pt")
with torch.no_grad():
    logits = network.model.language_model(**words).last_hidden_state
assert words["input_ids"].shape[1] == 4 and torch.isfinite(logits).all()
""",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_stock_classes_load_it_without_a_network(family: str, tmp_path: Path) -> None:
    code = f"{OFFLINE}{STOCK[family]}\nassert 'generation' not in sys.modules"
    command = [sys.executable, "-c", code, str(STARTERS / family)]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
