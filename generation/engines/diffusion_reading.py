"""A folder of diffusers to a pipeline in host memory: part by part, so that a part with missing weights is refused."""

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


def read_pipeline(spec: CheckpointSpec, numbers: Numbers, facts: CheckpointFacts) -> Any:
    """The pipeline, in host memory still; only classes that inspection allows come this far."""
    quiet(diffusers)
    quiet(transformers)
    folder = Path(spec.path)
    entries = read_json(folder / "model_index.json")
    left_out = {part: None for part, entry in entries.items() if entry == [None, None]}
    networks = {
        part: _read_network(_class(*entries[part]), folder / part, dtype_of(part, numbers)) for part in facts.networks
    }
    pipeline = getattr(diffusers, facts.class_name).from_pretrained(
        folder, local_files_only=True, **left_out, **networks
    )
    pipeline.set_progress_bar_config(disable=True)
    bridge(pipeline, numbers)
    return pipeline


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
