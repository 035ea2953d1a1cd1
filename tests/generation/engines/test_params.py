"""A wish checks itself, so that every door has the same limits."""

import pytest

from generation.engines.errors import InvalidParamsError
from generation.engines.params import LIMITS, NUMBERS, PROMPT_LIMIT, GenerationParams, Lora
from generation.engines.recipe import recipe_for

WISH = {"prompt": "a cat", "width": 32, "height": 32, "seed": 7}

FIELDS = {name: LIMITS[name] for name in NUMBERS}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompt": "x" * (PROMPT_LIMIT + 1)}, "The prompt has 4,001 characters; 4,000 is the most"),
        ({"negative_prompt": "x" * (PROMPT_LIMIT + 1)}, "The negative prompt has 4,001 characters"),
        ({"prompt": "half \ud800"}, "The prompt holds half a character"),
        ({"negative_prompt": "\udcff"}, "The negative prompt holds half a character"),
        ({"capability": "image_to_image"}, "Image to image needs a picture"),
        ({"capability": "edit"}, "Edit needs a picture"),
        ({"capability": "describe"}, "Describe needs a picture"),
        ({"capability": "describe", "source": b"picture", "count": 2}, "described once at a time"),
        ({"source": b"picture"}, "starts from words alone"),
        *(({name: float("nan")}, f"The {name} is nan") for name in NUMBERS),
        *(({name: least - 1}, f"The {name} is {least - 1}; use {least} to") for name, (least, _) in FIELDS.items()),
        *(({name: most + 1}, f"The {name} is {most + 1}; use ") for name, (_, most) in FIELDS.items()),
    ],
)
def test_a_wrong_wish_is_refused_in_words(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidParamsError, match=words):
        GenerationParams(**{**WISH, **changes})


def test_the_limits_themselves_are_allowed() -> None:
    for side in (0, 1):
        GenerationParams(**{"prompt": "x" * PROMPT_LIMIT, **{name: limits[side] for name, limits in FIELDS.items()}})


def test_a_recipe_names_only_what_the_drawing_depended_on() -> None:
    wish = {**GenerationParams(**WISH, negative_prompt="dogs", strength=0.5, temperature=2).to_header(), "count": 3}
    drawn = {"checkpoint": "c", "wish": wish, "seed": 9}
    diffusion = recipe_for(family="diffusion", defaults={"steps": 25, "guidance": 7.0, "strength": 0.6}, **drawn)
    assert diffusion == {
        "software": "Tessera",
        "checkpoint": "c",
        "family": "diffusion",
        "capability": "text_to_image",
        "prompt": "a cat",
        "negative_prompt": "dogs",
        "seed": 9,
        "width": 32,
        "height": 32,
        "digital_source_type": "trainedAlgorithmicMedia",
        "steps": 25,
        "guidance": 7.0,
    }
    multimodal = recipe_for(family="multimodal", defaults={"temperature": 1.0, "guidance": 5.0}, **drawn)
    assert multimodal["temperature"] == 2 and multimodal["guidance"] == 5.0 and multimodal["negative_prompt"] == ""
    assert not {"steps", "strength"} & multimodal.keys()
    both = recipe_for(family="multimodal", defaults={"steps": 30, "guidance": 1.5}, **drawn)
    assert both["steps"] == 30, "the second half of such a checkpoint is diffusion"
    wish["capability"] = "image_to_image"
    assert recipe_for(family="diffusion", defaults={}, **drawn)["strength"] == 0.5


def test_a_recipe_names_scheduler_and_loras_where_they_were_used() -> None:
    lora = Lora("ink", "/somewhere/ink.safetensors", 0.5, sha256="ab")
    wish = GenerationParams(**WISH, scheduler="euler_a", loras=(lora,)).to_header()
    recipe = recipe_for(family="diffusion", defaults={}, checkpoint="c", wish=wish, seed=9)
    assert recipe["scheduler"] == "euler_a"
    assert recipe["loras"] == [{"name": "ink", "weight": 0.5, "sha256": "ab"}], (
        "where the file lies is nobody's business"
    )
    other = recipe_for(family="multimodal", defaults={}, checkpoint="c", wish=wish, seed=9)
    assert not {"scheduler", "loras"} & other.keys()
