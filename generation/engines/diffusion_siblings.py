"""Another pipeline around the very same networks: for image to image, for inpainting."""

import inspect
from typing import Any


def sibling(pipeline: Any, kind: type[Any]) -> Any:
    """A pipeline of class `kind` that shares every part with `pipeline` and copies, converts and moves none.

    diffusers' own `from_pipe` turns all parts into one number type and refuses tiny decoders.
    """
    wanted = inspect.signature(kind).parameters
    parts = {name: part for name, part in pipeline.components.items() if name in wanted}
    settings = {
        name: value
        for name, value in pipeline.config.items()
        if name in wanted and name not in parts and not name.startswith("_")
    }
    made = kind(**parts, **settings)
    made.set_progress_bar_config(disable=True)
    return made
