"""Which parameter is moved by what, and how fast. Must name every parameter it is given exactly once."""

from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer

from generation.training.multimodal.muon import Muon
from generation.training.multimodal.plan import Plan

# What Muon gets, of the language model, the aligners, the head and the vision tower; AdamW gets the rest
HIDDEN = (
    "_proj.weight",
    "hidden_layers.0.weight",
    "proj_out.weight",
    "projection_layer.weight",
    ".mlp.fc1.weight",
    ".mlp.fc2.weight",
)
EYES = ("model.vision_model.", "model.aligner.")
TABLES = ("generation_embeddings.weight", "vision_head.weight", "vision_head.bias")


def build_optimizers(parameters: dict[str, nn.Parameter], plan: Plan) -> tuple[Optimizer, ...]:
    """Muon for the hidden matrices, AdamW for tables, heads and vectors; `base` is the rate before scaling.

    The code tables go slowly: Adam gives a row that is only ever pushed away a full step too, 9,000 of them at once.
    """
    seeing = {name: value for name, value in parameters.items() if name.startswith(EYES)}
    drawing = {name: value for name, value in parameters.items() if name not in seeing}
    hidden, others = _group(drawing, plan.muon_rate, hidden=True), _group(drawing, plan.adam_rate, hidden=False)
    tables = {"params": [value for name, value in parameters.items() if name.endswith(TABLES)], "base": plan.table_rate}
    eyes = _group(seeing, plan.muon_rate * plan.eyes, hidden=True)
    eyes_too = _group(seeing, plan.adam_rate * plan.eyes, hidden=False)
    muon = Muon([group for group in (hidden, eyes) if group["params"]])
    groups = [group for group in (tables, others, eyes_too) if group["params"]]
    return muon, AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0)


def _group(parameters: dict[str, nn.Parameter], rate: float, *, hidden: bool) -> dict[str, Any]:
    """The hidden matrices among these parameters, or what is neither hidden nor a table."""
    named = [(name.endswith(HIDDEN), name.endswith(TABLES), value) for name, value in parameters.items()]
    return {"params": [value for is_hidden, table, value in named if is_hidden is hidden and not table], "base": rate}
