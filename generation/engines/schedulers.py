"""The schedulers people may choose by name, and which of them a checkpoint can use. No torch.

A name means a class of diffusers with some options; everything else comes from the checkpoint's own scheduler settings.
Networks that predict noise and networks that predict a flow need different ones. LMS is not listed: it needs SciPy.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from generation.engines.errors import InvalidParamsError
from generation.engines.reading import Settings

KARRAS = {"use_karras_sigmas": True}
SDE = {"algorithm_type": "sde-dpmsolver++"}
ODE = {"algorithm_type": "dpmsolver++"}
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}

SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_karras": ("EulerDiscreteScheduler", KARRAS),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "heun_karras": ("HeunDiscreteScheduler", KARRAS),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", ODE),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {**ODE, **KARRAS}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", SDE),
    "dpmpp_2m_sde_karras": ("DPMSolverMultistepScheduler", {**SDE, **KARRAS}),
    "dpmpp_sde": ("DPMSolverSinglestepScheduler", {**SDE, "final_sigmas_type": "sigma_min"}),
    "dpmpp_sde_karras": ("DPMSolverSinglestepScheduler", {**SDE, "final_sigmas_type": "sigma_min", **KARRAS}),
    "deis": ("DEISMultistepScheduler", {"algorithm_type": "deis", "solver_type": "logrho"}),
    "unipc": ("UniPCMultistepScheduler", {"solver_type": "bh2"}),
    "lcm": ("LCMScheduler", {}),
    "tcd": ("TCDScheduler", {}),
    "euler_flow": ("FlowMatchEulerDiscreteScheduler", {}),
    "heun_flow": ("FlowMatchHeunDiscreteScheduler", {}),
    "lcm_flow": ("FlowMatchLCMScheduler", {}),
    "dpmpp_2m_flow": ("DPMSolverMultistepScheduler", {**ODE, **FLOW}),
    "unipc_flow": ("UniPCMultistepScheduler", {"solver_type": "bh2", **FLOW}),
}
TITLES = {  # for people who choose one; names of the field, as far as there are any
    "ddim": "DDIM",
    "ddpm": "DDPM",
    "pndm": "PNDM",
    "euler": "Euler",
    "euler_karras": "Euler, Karras",
    "euler_a": "Euler ancestral",
    "heun": "Heun",
    "heun_karras": "Heun, Karras",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_karras": "DPM++ 2M, Karras",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_2m_sde_karras": "DPM++ 2M SDE, Karras",
    "dpmpp_sde": "DPM++ SDE",
    "dpmpp_sde_karras": "DPM++ SDE, Karras",
    "deis": "DEIS",
    "unipc": "UniPC",
    "lcm": "LCM",
    "tcd": "TCD",
    "euler_flow": "Euler, flow",
    "heun_flow": "Heun, flow",
    "lcm_flow": "LCM, flow",
    "dpmpp_2m_flow": "DPM++ 2M, flow",
    "unipc_flow": "UniPC, flow",
}
FOR_FLOW = tuple(name for name in SCHEDULERS if name.endswith("_flow"))
FOR_NOISE = tuple(name for name in SCHEDULERS if name not in FOR_FLOW)
NOT_FOR_SAMPLES = frozenset({"pndm", "euler_a"})  # these refuse networks that predict the picture itself
OWN_SIGMAS = frozenset({"heun_flow"})  # these take none from the pipeline, as all but the oldest flow pipelines give
# flow pipelines that were drawn with every name above; others take what nearly all are made for
MANY_FLOWS = frozenset({"StableDiffusion3Pipeline", "FluxPipeline"})


def check_scheduler(name: str | None) -> None:
    """Raises InvalidParamsError for a name that means nothing."""
    if name is not None and name not in SCHEDULERS:
        raise InvalidParamsError(f"There is no scheduler '{name}'.", hint=f"Known are {', '.join(SCHEDULERS)}.")


def schedulers_of(folder: Path, pipeline: str) -> tuple[str, ...]:
    """The names that a checkpoint of this pipeline class can use; none when it draws with its own only."""
    file = folder / "scheduler" / "scheduler_config.json"
    if not file.is_file():
        return ()
    config = Settings(file)
    own, prediction = config.text("_class_name") or "", config.text("prediction_type")
    if own.startswith("FlowMatchEuler") or prediction == "flow_prediction":
        if pipeline not in MANY_FLOWS:
            return ("euler_flow",) if own.startswith("FlowMatchEuler") else ()
        given = pipeline != "StableDiffusion3Pipeline" or bool(config.values.get("use_dynamic_shifting"))
        return tuple(name for name in FOR_FLOW if not (given and name in OWN_SIGMAS))
    if own not in {SCHEDULERS[name][0] for name in FOR_NOISE} | {"LMSDiscreteScheduler", "KDPM2DiscreteScheduler"}:
        return ()
    return tuple(name for name in FOR_NOISE if not (prediction == "sample" and name in NOT_FOR_SAMPLES))


def require_scheduler(name: str | None, usable: Collection[str]) -> None:
    """Raises InvalidParamsError when a checkpoint cannot use it, naming those it can."""
    if name is None or name in usable:
        return
    hint = f"It can use {', '.join(usable)}." if usable else "Leave the scheduler out: it draws with its own only."
    raise InvalidParamsError(f"This checkpoint cannot use the scheduler '{name}'.", hint=hint)
