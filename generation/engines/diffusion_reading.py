"""A checkpoint of diffusers to a pipeline in host memory: so that a part with missing weights is refused."""

from pathlib import Path
from typing import Any, cast

import diffusers
import torch
import transformers

from generation.engines.checkpoint_facts import CheckpointFacts
from generation.engines.checkpoint_files import variant_of
from generation.engines.diffusion_precision import bridge, dtype_of
from generation.engines.loading import dtype_to_read, quiet, require_complete
from generation.engines.params import CheckpointSpec
from generation.engines.precision import Numbers
from generation.engines.reading import read_json
from generation.engines.single_file import read_single_file


def read_pipeline(spec: CheckpointSpec, numbers: Numbers, facts: CheckpointFacts) -> Any:
    """The pipeline, in host memory still; only classes that inspection allows come this far."""
    quiet(diffusers)
    quiet(transformers)
    place = Path(spec.path)
    pipeline = read_single_file(place, numbers) if place.is_file() else _read_folder(place, numbers, facts)
    if hasattr(pipeline, "resolutions"):
        pipeline.resolutions = list(facts.sizes)  # the only sizes it draws
    pipeline.set_progress_bar_config(disable=True)
    bridge(pipeline, numbers)
    return pipeline


def _read_folder(folder: Path, numbers: Numbers, facts: CheckpointFacts) -> Any:
    entries = read_json(folder / "model_index.json")
    left_out = {part: None for part, entry in entries.items() if entry == [None, None]}
    networks = {
        part: _read_network(_class(*entries[part]), folder / part, dtype_of(part, numbers)) for part in facts.networks
    }
    readers = {part: read_processor(folder / part, entry[1]) for part, entry in entries.items() if _sees(entry)}
    late = {part: None for part in readers if not isinstance(readers[part], transformers.ProcessorMixin)}
    pipeline = getattr(diffusers, facts.class_name).from_pretrained(
        folder, local_files_only=True, **left_out, **networks, **{**readers, **late}
    )
    pipeline.register_modules(**{part: readers[part] for part in late})  # from_pretrained insists on the named class
    return pipeline


def _sees(entry: object) -> bool:
    return isinstance(entry, list) and str(entry[-1]).endswith(("VLProcessor", "PixtralProcessor"))


def read_processor(folder: Path, name: str) -> Any:
    """Words and pictures to what a looking text encoder takes.

    The library's own classes ask for torchvision: some would read films, too, and FLUX.2 only ever hands words to its
    own.
    """
    if name == "PixtralProcessor":
        return transformers.PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    return without_films(getattr(transformers, name)).from_pretrained(folder, local_files_only=True)


def without_films(kind: Any) -> Any:
    """This class of processors, made of a tokenizer and a reader of pictures only."""

    def begin(self: Any, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None) -> None:
        kind.__init__(self, image_processor, tokenizer, None, chat_template=chat_template)

    return type(kind.__name__, (kind,), {"__init__": begin, "__module__": kind.__module__})


def _class(library: str, name: str) -> Any:
    """As the pipeline itself would look it up; a third library stands for a module of diffusers' pipelines."""
    libraries = {"diffusers": diffusers, "transformers": transformers}
    module = libraries.get(library) or getattr(diffusers.pipelines, library)
    return getattr(module, name)


def _read_network(kind: Any, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
    """One part. Read one by one, because the pipeline keeps to itself which weights it did not find."""
    network, report = kind.from_pretrained(
        folder,
        dtype=dtype_to_read(folder, dtype),
        use_safetensors=True,
        local_files_only=True,
        variant=variant_of(folder),
        output_loading_info=True,
    )
    require_complete(folder.name, report["missing_keys"])
    return cast(torch.nn.Module, network.eval())
