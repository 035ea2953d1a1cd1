"""The networks of the diffusion starter, all stock classes, in sizes that two CPU cores can train in an evening.

Four latent channels because diffusers' inpaint pipeline takes no other number (or nine); 4 px per latent cell,
so that the autoencoder has little to learn and previews and masks are fine.
Must not train or load anything.
"""

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

LATENT_CHANNELS = 4
LATENT_SIDE = 32
TEXT_WIDTH = 128
VOCABULARY, TOKENS = 2048, 32
TRAIN_STEPS = 1000
QUIET = -6.0  # logarithm of the variance


def autoencoder() -> AutoencoderKL:
    """Narrow where pixels are many, wide where they are few. One group: many would strip the picture of its colours."""
    widths = (8, 24, 48)
    network = AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=1,
        sample_size=128,
        mid_block_add_attention=False,
        scaling_factor=1.0,
        force_upcast=False,
    )
    with torch.no_grad():
        for mix in (network.quant_conv, network.post_quant_conv):  # nothing until `whiten` fills them in
            mix.weight.copy_(torch.eye(mix.in_channels)[..., None, None])
            mix.bias.zero_()
    quiet_start(network)
    return network


def spread(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the latents' channels, in double precision."""
    values = latents.permute(1, 0, 2, 3).flatten(1).double()
    return values.mean(1), torch.cov(values)


@torch.no_grad()
def whiten(network: AutoencoderKL, mean: Tensor, covariance: Tensor) -> None:
    """Fold the latents' mean and covariance into the two 1 x 1 convolutions: what the denoiser sees is then white.

    Exact, and stock pipelines need no shift, which they would ignore (`scaling_factor` is 1).
    """
    lengths, axes = torch.linalg.eigh(covariance)
    deviations = lengths.clamp_min(float(lengths.max()) * 1e-3).sqrt()
    white = axes @ torch.diag(1 / deviations) @ axes.T
    back = axes @ torch.diag(deviations) @ axes.T
    inward, outward = network.quant_conv, network.post_quant_conv
    four = LATENT_CHANNELS
    inward.weight[:four] = (white @ inward.weight[:four, :, 0, 0].double()).float()[..., None, None]
    inward.bias[:four] = (white @ (inward.bias[:four].double() - mean)).float()
    inward.bias[four:] += 2 * white.diagonal().clamp_min(1e-6).log().float()
    old = outward.weight[..., 0, 0].double()
    outward.bias += (old @ mean).float()
    outward.weight.copy_((old @ back).float()[..., None, None])


def quiet_start(network: AutoencoderKL) -> None:
    """Begin with almost noiseless latents: at deviation 1, the usual start, the decoder hears only noise."""
    last = network.encoder.conv_out
    with torch.no_grad():
        last.weight[LATENT_CHANNELS:] = 0
        last.bias[LATENT_CHANNELS:] = QUIET


def denoiser() -> UNet2DConditionModel:
    """Most weights, and all words, at 4 x 4 and 8 x 8, where a step is cheap; the finer levels only fold and unfold."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        block_out_channels=(16, 32, 96, 136),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
        use_linear_projection=True,
        # the caption also steers every block through the time embedding: words are learned much sooner than by
        # cross attention alone, which first has to find out where to look
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        time_embedding_dim=192,
        resnet_time_scale_shift="scale_shift",
    )


def text_encoder(end: int) -> CLIPTextModel:
    """Two layers: captions are short, and word order is all there is to understand."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=VOCABULARY,
            hidden_size=TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            bos_token_id=end - 1,
            eos_token_id=end,
            pad_token_id=end,
            initializer_range=0.02,
        )
    )


def scheduler() -> DDIMScheduler:
    """Cosine noise that really ends in noise, so that the first step draws from the words alone."""
    return DDIMScheduler(
        num_train_timesteps=TRAIN_STEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        steps_offset=1,  # unused when trailing, but stock pipelines warn about 0
        clip_sample=False,
        set_alpha_to_one=True,
    )
