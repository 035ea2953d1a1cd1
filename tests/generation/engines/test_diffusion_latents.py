"""The clean latent is found for every scheduler and prediction: checked with a network that is never wrong."""

import diffusers
import pytest
import torch

from generation.engines.diffusion_latents import CleanLatents

# the schedulers' own, with the newest numpy
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must:DeprecationWarning"),
]

GENERATOR = torch.Generator().manual_seed(0)
CLEAN = torch.randn(1, 4, 8, 8, generator=GENERATOR)
NOISE = torch.randn(1, 4, 8, 8, generator=GENERATOR)
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
UNKNOWN = {("PNDMScheduler", "sample"), ("EulerAncestralDiscreteScheduler", "sample")}
SCHEDULERS = [
    ("DDIMScheduler", {"clip_sample": False}),
    ("DDPMScheduler", {"clip_sample": False}),
    ("PNDMScheduler", {"skip_prk_steps": True}),
    ("EulerDiscreteScheduler", {}),
    ("EulerAncestralDiscreteScheduler", {}),
    ("HeunDiscreteScheduler", {}),
    ("DPMSolverMultistepScheduler", {}),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    ("DPMSolverSinglestepScheduler", {}),
    ("UniPCMultistepScheduler", {}),
    ("DEISMultistepScheduler", {}),
    ("LCMScheduler", {}),
    ("TCDScheduler", {}),
]
CASES = [
    (name, extra, prediction)
    for name, extra in SCHEDULERS
    for prediction in ("epsilon", "v_prediction", "sample")
    if (name, prediction) not in UNKNOWN
]


@pytest.mark.parametrize(("name", "extra", "prediction"), CASES)
def test_the_clean_latent_is_found(name: str, extra: dict[str, object], prediction: str) -> None:
    scheduler = getattr(diffusers, name)(**BETAS, **extra, prediction_type=prediction)
    scheduler.set_timesteps(10)
    clean = CleanLatents(scheduler)
    for timestep in scheduler.timesteps[:3]:
        kept = scheduler.alphas_cumprod[int(timestep)]
        velocity = kept**0.5 * NOISE - (1 - kept) ** 0.5 * CLEAN
        output = {"epsilon": NOISE, "v_prediction": velocity, "sample": CLEAN}[prediction]
        sample = scheduler.add_noise(CLEAN, NOISE, timestep[None])
        scheduler.step(output, timestep, sample, return_dict=False)
        assert clean.latest is not None
        assert torch.allclose(clean.latest, CLEAN, atol=0.02)


@pytest.mark.parametrize(
    "scheduler",
    [
        diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        diffusers.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
        diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
    ],
    ids=lambda scheduler: type(scheduler).__name__,
)
def test_the_clean_latent_of_a_flow_is_found(scheduler: object) -> None:
    scheduler.set_timesteps(10)
    clean = CleanLatents(scheduler)
    for timestep, sigma in list(zip(scheduler.timesteps, scheduler.sigmas, strict=False))[:3]:
        sample = (1 - sigma) * CLEAN + sigma * NOISE
        scheduler.step(NOISE - CLEAN, timestep, sample, return_dict=False)
        assert torch.allclose(clean.latest, CLEAN, atol=1e-4)
