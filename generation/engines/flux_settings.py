"""Settings that the shapes of FLUX.1's transformer and of T5 tell. No torch."""

from typing import Any

from generation.engines.single_shapes import Shapes

Values = dict[str, Any]


def transformer(shapes: Shapes, settings: Values) -> Values:
    """In the names of Black Forest Labs."""
    head = shapes.edge("double_blocks.0.img_attn.norm.key_norm.scale", 0)
    width = shapes.edge("img_in.weight", 0)
    if head != sum(settings["axes_dims_rope"]) or width % head:
        raise shapes.wrong(f"has heads of {head} numbers in {width}, unlike FLUX.1")
    return {
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "in_channels": shapes.edge("img_in.weight", 1),
        "out_channels": shapes.edge("final_layer.linear.weight", 0),
        "joint_attention_dim": shapes.edge("txt_in.weight", 1),
        "pooled_projection_dim": shapes.edge("vector_in.in_layer.weight", 1),
        "num_layers": shapes.count("double_blocks.{}.img_attn.qkv.weight"),
        "num_single_layers": shapes.count("single_blocks.{}.linear1.weight"),
    }


def t5(shapes: Shapes, settings: Values) -> Values:
    """In the names of transformers."""
    heads = shapes.edge("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", 1)
    width = shapes.edge("encoder.block.0.layer.0.SelfAttention.q.weight", 0)
    if width % heads:
        raise shapes.wrong(f"has {heads} heads in {width} numbers")
    return {
        "vocab_size": shapes.edge("shared.weight", 0),
        "d_model": shapes.edge("shared.weight", 1),
        "d_ff": shapes.edge("encoder.block.0.layer.1.DenseReluDense.wi_0.weight", 0),
        "d_kv": width // heads,
        "num_heads": heads,
        "num_layers": shapes.count("encoder.block.{}.layer.0.SelfAttention.q.weight"),
    }
