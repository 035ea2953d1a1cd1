"""What a pipeline is called with, from a wish: only what its call takes. And what of the wish it will not heed."""

import inspect
import math
from collections.abc import Iterator
from typing import Any

from generation.engines.checkpoint_facts import CheckpointFacts
from generation.engines.fragments import Note
from generation.engines.params import NEEDS_SOURCE, GenerationParams
from generation.engines.pipelines import PIPELINES, PipelineKind
from generation.engines.source import open_mask, open_source

# pipelines that choose a size near the one asked for are told not to
AS_ASKED = {"use_resolution_binning": False, "_auto_resize": False}


def arguments(pipeline: Any, params: GenerationParams, facts: CheckpointFacts) -> dict[str, Any]:
    """The same for each picture of the batch. Raises InvalidParamsError for a picture that cannot be read."""
    kind, takes = PIPELINES[facts.class_name], taken_by(pipeline)
    canvas = {"width": params.width, "height": params.height, "max_area": params.width * params.height}
    wish = {"prompt": params.prompt, **canvas, **AS_ASKED}
    wish |= _guidance(params, facts, kind) | _steps(params, facts, takes) | _pictures(params)
    return {name: value for name, value in wish.items() if name in takes}


def unheeded(pipeline: Any, params: GenerationParams) -> Iterator[Note]:
    """What the person should know before the picture comes."""
    if params.negative_prompt and "negative_prompt" not in taken_by(pipeline):
        yield Note("negative.ignored", "This checkpoint takes no negative prompt; it was left out.")
    if is_too_long(pipeline, params.prompt):
        yield Note("prompt.truncated", "The prompt is longer than this checkpoint can read; its end was left out.")


def taken_by(pipeline: Any) -> dict[str, Any]:
    """The arguments of a pipeline's call, with their defaults."""
    return {name: value.default for name, value in inspect.signature(type(pipeline).__call__).parameters.items()}


def _guidance(params: GenerationParams, facts: CheckpointFacts, kind: PipelineKind) -> dict[str, Any]:
    guidance = facts.defaults["guidance"] if params.guidance is None else params.guidance
    wish: dict[str, Any] = {kind.guided_by: guidance} if kind.guided_by else {}
    if params.negative_prompt or (kind.blank is not None and guidance > 1):
        wish["negative_prompt"] = params.negative_prompt or kind.blank
    if params.negative_prompt and kind.negative_scale is not None:
        wish["true_cfg_scale"] = kind.negative_scale
    return wish


def _steps(params: GenerationParams, facts: CheckpointFacts, takes: dict[str, Any]) -> dict[str, Any]:
    steps = params.steps or int(facts.defaults["steps"])
    if params.capability not in {"image_to_image", "inpaint"} or "strength" not in takes:
        return {"num_inference_steps": steps}
    strength = facts.defaults["strength"] if params.strength is None else params.strength
    # pipelines draw only the last `strength` of the steps, and refuse when that is none
    return {"strength": strength, "num_inference_steps": max(steps, math.ceil(1 / strength))}


def _pictures(params: GenerationParams) -> dict[str, Any]:
    wish: dict[str, Any] = {}
    if params.capability in NEEDS_SOURCE:
        wish["image"] = open_source(params.source or b"", params.width, params.height)
    if params.capability == "inpaint":
        wish["mask_image"] = open_mask(params.mask or b"", params.width, params.height)
    return wish


def is_too_long(pipeline: Any, prompt: str) -> bool:
    """Whether none of its tokenizers can take the whole prompt in."""
    longest = taken_by(pipeline).get("max_sequence_length")
    counts = []
    for name, part in pipeline.components.items():
        if name.startswith(("tokenizer", "processor")) and part is not None:
            tokenizer = getattr(part, "tokenizer", part)
            limit = min(tokenizer.model_max_length, longest or math.inf)
            counts.append(len(tokenizer(prompt, truncation=False).input_ids) > limit)
    return bool(counts) and all(counts)
