"""What Tessera adds to a diffusion pipeline: previews as a share of the time, the room's door beside the bare call.

Random weights of Stable Diffusion 1.5's shape at half its width, and the starter, whose steps take some 30 ms: there
all that is beside the network weighs most. Takes about three minutes and 3 GB.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from PIL import Image

import generation
from generation.engines import diffusion_latents
from generation.engines.base import CancelToken
from generation.engines.client import RoomClient, RoomSettings
from generation.engines.device import Device
from generation.engines.diffusion_preview import Previewer, channels_of, decoder_of, fit_map, linear_map
from generation.engines.encoding import encode
from generation.engines.factory import create_engine
from generation.engines.fragments import Fragment, Kind, Pixels
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.protocol import EncodedFragment
from tests.bench.diffusion_shapes import save_half_stable
from tests.bench.rows import Row

STARTER = Path(generation.__file__).parent / "starter" / "diffusion"
SHAPE = "SD 1.5's shape at half width"
PROMPT = "a red apple left of a dog on white"
PROMPTS = (PROMPT, "a cat on blue", "a pizza on green", "a tree left of a car on yellow", "a rocket on black")
ROUNDS = 9


class Stopwatch:
    """Adds up the time that calls take."""

    def __init__(self) -> None:
        self.seconds, self.calls = 0.0, 0

    def __call__(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """The same method, timed."""

        def timed(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(*given, **named)
            finally:
                self.seconds += time.perf_counter() - began
                self.calls += 1

        return timed


@contextmanager
def timed_previews() -> Iterator[Stopwatch]:
    """Listens to what is done for previews only, the clean latent and its colours; encoding is added by who draws."""
    watch, latent, pixels = Stopwatch(), diffusion_latents.clean_latent, Previewer.pixels
    diffusion_latents.clean_latent = watch(latent)
    Previewer.pixels = watch(pixels)  # type: ignore[method-assign]
    try:
        yield watch
    finally:
        diffusion_latents.clean_latent = latent
        Previewer.pixels = pixels  # type: ignore[method-assign]


def previews(name: str, folder: Path, params: GenerationParams, bar: float | None, pictures: int = 1) -> Row:
    """Their share of the time, encoding included."""
    engine = create_engine(CheckpointSpec("measured", str(folder), "diffusion"))
    engine.load(Device("cpu"))
    for _ in engine.generate(replace(params, steps=1), CancelToken()):
        pass  # warm
    seen = 0
    with timed_previews() as watch:
        encoded, began = watch(encode), time.perf_counter()
        for _ in range(pictures):
            for item in engine.generate(params, CancelToken()):
                if isinstance(item, Fragment) and item.kind is Kind.PREVIEW:
                    encoded(item)
                    seen += 1
        total = time.perf_counter() - began
    remark = f"{seen / pictures:.0f} previews in {total / pictures:.2f} s, {told(params)}"
    return Row(f"previews, {name}: share of the time", 100 * watch.seconds / total, bar, "most", "%", remark)


def through_the_room(name: str, folder: Path, params: GenerationParams, bar: float | None, rounds: int) -> Row:
    """Both ways in turn; from the wish to the bytes of the PNG against to a PIL picture.

    The middle of the rounds' ratios: a machine that others use too gets slower and faster by the minute.
    """
    threads = torch.get_num_threads()
    spec = CheckpointSpec("measured", str(folder), "diffusion")
    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    took: dict[str, list[float]] = {"bare": [], "room": []}
    with RoomClient(RoomSettings(device="cpu", threads=threads, log_level="ERROR")) as room:
        for number in range(rounds + 1):
            ways = [("bare", lambda: bare(pipe, params)), ("room", lambda: asked(room, spec, params))]
            shown = []
            for way, draw in ways if number % 2 else reversed(ways):
                began = time.perf_counter()
                shown.append(draw())
                took[way].append(time.perf_counter() - began)
    del took["bare"][0], took["room"][0]  # the first loads and warms up
    middle = {way: statistics.median(seconds) for way, seconds in took.items()}
    same = "the same pixels" if np.array_equal(*shown) else "OTHER PIXELS"
    remark = f"{middle['room']:.3f} s, bare {middle['bare']:.3f} s, {told(params)}, previews on, {same}"
    return Row(
        f"one picture through the room, {name}: speed of the bare call",
        statistics.median(plain / ours for plain, ours in zip(took["bare"], took["room"], strict=True)),
        bar,
        remark=remark,
    )


def preview_errors() -> list[Row]:
    """How far the last preview is from the picture, both as large as the latent, by either map of the starter."""
    engine: Any = create_engine(CheckpointSpec("measured", str(STARTER), "diffusion"))
    engine.load(Device("cpu"))
    pipeline = engine._main()
    fitted = linear_map(*fit_map(decoder_of(pipeline), channels_of(pipeline.vae), pipeline.vae.device))
    ways = {"its own preview.json": engine._previewer, "a map fitted when loaded": Previewer(fitted)}
    found = []
    for way, previewer in ways.items():
        engine._previewer, errors = previewer, []
        for seed, prompt in enumerate(PROMPTS):
            params = GenerationParams(prompt, 128, 128, seed)
            drawn = [item for item in engine.generate(params, CancelToken()) if isinstance(item, Fragment)]
            small = drawn[-2].pixels.astype(float)
            whole = Image.fromarray(drawn[-1].pixels).resize((small.shape[1], small.shape[0]), Image.Resampling.BOX)
            errors.append(float(np.abs(small - np.asarray(whole)).mean()))
        found.append(Row(f"previews, starter, {way}: mean error", statistics.mean(errors), unit="/255"))
    return found


def bare(pipe: Any, params: GenerationParams) -> Pixels:
    """As the library's documentation calls it."""
    picture = pipe(
        params.prompt,
        width=params.width,
        height=params.height,
        num_inference_steps=params.steps,
        guidance_scale=params.guidance,
        generator=torch.Generator("cpu").manual_seed(params.seed),
    ).images[0]
    return np.asarray(picture)


def asked(room: RoomClient, spec: CheckpointSpec, params: GenerationParams) -> Pixels:
    """Everything that the room says is taken, as the portal takes it."""
    for reply in room.generate(spec, params):
        if isinstance(reply, EncodedFragment) and reply.kind is Kind.FINAL:
            data = reply.data
    return np.asarray(Image.open(BytesIO(data)))


def told(params: GenerationParams) -> str:
    """For a remark."""
    return f"{params.width}x{params.height}, {params.steps} steps, guidance {params.guidance:g}"


def rows() -> list[Row]:
    """Figures and bars."""
    large = GenerationParams(PROMPT, 512, 512, 1, steps=4, guidance=7.5)
    middle = GenerationParams(PROMPT, 256, 256, 1, steps=4, guidance=7.5)
    small = GenerationParams(PROMPT, 128, 128, 1, steps=10, guidance=2.0)
    with TemporaryDirectory() as place:
        half, tiny = save_half_stable(Path(place) / "half"), save_half_stable(Path(place) / "tiny", tiny=True)
        return [
            previews(f"a linear map, {SHAPE}", half, large, 3.0),
            previews(f"a tiny decoder, {SHAPE}", tiny, large, 3.0),
            previews("a linear map, starter", STARTER, small, None, pictures=8),
            *preview_errors(),
            through_the_room(SHAPE, half, middle, 0.97, ROUNDS),
            through_the_room("starter", STARTER, small, None, 3 * ROUNDS),
        ]
