"""The world that judges, rendered by itself where it is not yet; a sentence where that cannot be done."""

from pathlib import Path
from subprocess import CalledProcessError

from generation.training.world import World


class WorldUnavailableError(Exception):
    """The icons cannot be fetched or rendered here; the message says what to install."""


def build_world(cache: Path) -> World:
    """From the cache, else fetched by npm and rendered by resvg. Raises WorldUnavailableError."""
    try:
        return World.build(cache)
    except ModuleNotFoundError as error:
        if error.name != "resvg_py":
            raise
        raise WorldUnavailableError(
            "The true pictures cannot be rendered: resvg-py is not installed. "
            "Install it with: .venv/bin/python -m pip install resvg-py"
        ) from error
    except FileNotFoundError as error:
        raise WorldUnavailableError(
            f"The icons cannot be fetched ({error}): npm, which comes with Node.js, is needed once. Install it, "
            f"or put the package's iconify-json-fluent-emoji-*.tgz into {cache}."
        ) from error
    except CalledProcessError as error:
        said = (error.stderr or "").strip().splitlines()
        raise WorldUnavailableError(
            f"npm could not fetch the icons: {said[-1] if said else error}. It needs the network once; "
            f"or put the package's iconify-json-fluent-emoji-*.tgz into {cache}."
        ) from error
    except OSError as error:
        raise WorldUnavailableError(f"{cache} cannot be used for the icons: {error}.") from error
