"""LoRA files for the tiny checkpoints, written as training tools write them. Random, and loud enough to be seen."""

from pathlib import Path

import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


def _trained(network: torch.nn.Module, targets: list[str], seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    network.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=targets))
    tensors = get_peft_model_state_dict(network)
    return {name: torch.randn(tensor.shape) for name, tensor in tensors.items()}


def save_lora(file: Path, checkpoint: Path, *, seed: int = 1, texts: bool = False) -> Path:
    """As diffusers writes them: for the UNet, and for the text encoder where asked."""
    absent = dict.fromkeys(("text_encoder_3", "tokenizer_3")) if (checkpoint / "transformer").is_dir() else {}
    pipeline = DiffusionPipeline.from_pretrained(checkpoint, **absent)
    network = pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer
    part = "unet" if hasattr(pipeline, "unet") else "transformer"
    layers = {f"{part}_lora_layers": _trained(network, TARGETS, seed)}
    if texts:
        layers["text_encoder_lora_layers"] = _trained(pipeline.text_encoder, ["q_proj", "k_proj", "v_proj"], seed)
    type(pipeline).save_lora_weights(file.parent, weight_name=file.name, **layers)
    return file


def save_kohya_lora(file: Path, checkpoint: Path, *, seed: int = 1, alpha: float = 2.0) -> Path:
    """As most files that are passed around: flat names, down and up, a scale of its own for each layer."""
    pipeline = StableDiffusionPipeline.from_pretrained(checkpoint)
    tensors = dict[str, torch.Tensor]()
    for name, tensor in _trained(pipeline.unet, TARGETS, seed).items():
        layer, side, _ = name.rsplit(".", 2)
        flat = "lora_unet_" + layer.replace(".", "_")
        tensors[f"{flat}.{'lora_down' if side == 'lora_A' else 'lora_up'}.weight"] = tensor
        tensors[f"{flat}.alpha"] = torch.tensor(alpha)
    save_file(tensors, file)
    return file
