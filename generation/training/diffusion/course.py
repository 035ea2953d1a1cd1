"""The diffusion starter from nothing to the folder: autoencoder, then denoiser with its latents, then the decoder.

Each stage is a `Work` for `generation.training.course`, which holds the clock. Must not decide about time or reports.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

from generation.training.course import Stage, Work
from generation.training.diffusion import autoencoder, denoiser, look, words
from generation.training.diffusion.card import Figures, card
from generation.training.diffusion.export import CARD, write
from generation.training.diffusion.latents import Pool
from generation.training.diffusion.progress import SEED, Budget, Setting, load, save
from generation.training.folders import draft_of, replace_folder
from generation.training.state import State
from generation.training.world import World

__all__ = ["MINUTES", "SEED", "stages"]

SHARES = {"autoencoder": 35.0, "denoiser": 70.0, "decoder": 25.0}  # the minutes of the starter that ships
MINUTES = sum(SHARES.values())
LATENTS = "latents"
JUDGED, FEWEST_JUDGED = 200, 8  # prompts of each kind, after those minutes; at the least
Kind = TypeVar("Kind", autoencoder.Run, denoiser.Run)


class Training(Generic[Kind]):
    """What the stages have in common: a network's run, told how much of its time is spent, and its checkpoint."""

    def __init__(self, run: Kind, path: Path) -> None:
        self.run: Kind = run
        self.path, self.budget = path, Budget(0)

    @property
    def step(self) -> int:
        """Steps of this network, over all stages that train it."""
        return self.run.step

    def save(self) -> None:
        """The checkpoint."""
        save(self.path, self.run.state())

    def close(self) -> None:
        """The checkpoint is what the next stage reads."""


class Packing(Training[autoencoder.Run]):
    """The autoencoder; with `decoder_only` its second half, while the latents stay what the denoiser has learned."""

    def __init__(self, world: World, setting: Setting, *, decoder_only: bool, resume: bool) -> None:
        run = autoencoder.Run(decoder_only=decoder_only, setting=setting)
        super().__init__(run, setting.checkpoint(autoencoder.STAGE))
        self.world = world
        if decoder_only or (resume and self.path.exists()):
            self.run.resume(load(self.path))

    def advance(self, spent: float) -> float:
        """One step; returns the mean absolute error."""
        self.budget.told = spent
        return self.run.advance(self.world, self.budget)


class Decoding(Packing):
    """The last stage: the decoder alone, then the folder."""

    def __init__(self, world: World, setting: Setting, output: Path, judged: int) -> None:
        super().__init__(world, setting, decoder_only=True, resume=True)
        self.setting, self.output, self.judged = setting, output, judged

    def close(self) -> None:
        """Write the folder, look at what it draws, and say so in its card."""
        draft = draft_of(self.output)
        write(self.world, draft, self.setting)
        state = State.load(self.setting.folder)  # the course has just saved it
        if state is not None:
            (draft / CARD).write_text(card(state, self._measured(draft)), encoding="utf-8")
        replace_folder(draft, self.output)

    def _measured(self, folder: Path) -> Figures:
        pipe = look.load(folder)
        parts = {"vae": pipe.vae, "unet": pipe.unet, "text encoder": pipe.text_encoder}
        pairs = {"one object": False, "two objects": True}
        denoised = load(self.setting.checkpoint(denoiser.STAGE))["curve"]
        return Figures(
            nouns=len(self.world.nouns),
            shown=look.write_sheet(pipe, self.world, folder),
            packed=self.run.packed,
            weights={name: (type(part).__name__, part.num_parameters()) for name, part in parts.items()},
            curves={autoencoder.STAGE: self.run.curve.points, denoiser.STAGE: denoised},
            scores={name: look.score(pipe, self.world, self.judged, pair=pair) for name, pair in pairs.items()},
        )


class Denoising(Training[denoiser.Run]):
    """The denoiser and its text encoder, with the latents that they have met."""

    def __init__(self, world: World, setting: Setting, *, resume: bool) -> None:
        run = denoiser.Run(words.tokenizer(setting.folder / "tokenizer"), setting)
        super().__init__(run, setting.checkpoint(denoiser.STAGE))
        self.latents = setting.checkpoint(LATENTS)
        if resume and self.path.exists():
            self.run.resume(load(self.path))
        network, self.mark = denoiser.settled_autoencoder(world, setting)
        self.pool = Pool(world, network)
        if resume:
            self.pool.load(self.latents, self.mark, denoiser.known_nouns(world.names, self.run.step, setting))

    def advance(self, spent: float) -> float:
        """One step; returns its loss."""
        self.budget.told = spent
        return self.run.advance(self.pool, self.budget)

    def save(self) -> None:
        """The checkpoint, and the latents that it need not encode again."""
        super().save()
        self.pool.save(self.latents, self.mark)


def stages(world: World, folder: Path, output: Path, seed: int, minutes: float) -> Sequence[Stage]:
    """With `minutes` shared out as the shipped starter's were."""
    setting = Setting(folder, seed)
    judged = max(FEWEST_JUDGED, min(JUDGED, round(JUDGED * minutes / MINUTES)))

    def packing(resume: bool) -> Work:
        return Packing(world, setting, decoder_only=False, resume=resume)

    def denoising(resume: bool) -> Work:
        return Denoising(world, setting, resume=resume)

    def decoding(resume: bool) -> Work:
        return Decoding(world, setting, output, judged)

    opening = {"autoencoder": packing, "denoiser": denoising, "decoder": decoding}
    return [Stage(name, minutes * share / MINUTES, opening[name]) for name, share in SHARES.items()]
