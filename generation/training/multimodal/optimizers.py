"""Which parameter is moved by what, and how fast. Must name every parameter it is given exactly once."""

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
TABLES = ("generation_embeddings.weight", "vision_head.weight", "vision_head.bias")


def build_optimizers(parameters: dict[str, nn.Parameter], plan: Plan) -> tuple[Optimizer, ...]:
    """Muon for the hidden matrices, AdamW for tables, heads and vectors; `base` is the rate before scaling.

    The code tables go slowly: Adam gives a row that is only ever pushed away a full step too, 9,000 of them at once.
    """
    hidden = [value for name, value in parameters.items() if name.endswith(HIDDEN)]
    tables = [value for name, value in parameters.items() if name.endswith(TABLES)]
    others = [value for name, value in parameters.items() if not name.endswith((*HIDDEN, *TABLES))]
    muon = Muon([{"params": hidden, "base": plan.muon_rate}])
    groups = [{"params": tables, "base": plan.table_rate}, {"params": others, "base": plan.adam_rate}]
    return muon, AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0)
