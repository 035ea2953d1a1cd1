"""The diffusion starter from nothing to the folder: autoencoder, then denoiser with its latents, then the decoder.

Each stage is a `Work` for `generation.training.course`, which holds the clock. Must not decide about time or reports.
"""

from collections.abc import Sequence
from pathlib import Path

from generation.training.contact_sheet import PICTURES, random_scenes, sheet
from generation.training.course import Stage, Work
from generation.training.diffusion import autoencoder, denoiser, look, words
from generation.training.diffusion.export import export
from generation.training.diffusion.latents import Pool
from generation.training.diffusion.progress import SEED, Budget, Setting, load, save
from generation.training.world import World, plain_caption

__all__ = ["MINUTES", "SEED", "stages"]

SHARES = {"autoencoder": 35.0, "denoiser": 70.0, "decoder": 25.0}  # the minutes of the starter that ships
MINUTES = sum(SHARES.values())
LATENTS = "latents"


class Packing:
    """The autoencoder; with `decoder_only` its second half, while the latents stay what the denoiser has learned."""

    def __init__(self, world: World, setting: Setting, *, decoder_only: bool, resume: bool) -> None:
        self.world, self.budget = world, Budget(0)
        self.path = setting.checkpoint(autoencoder.STAGE)
        self.run = autoencoder.Run(decoder_only=decoder_only, setting=setting)
        if decoder_only or (resume and self.path.exists()):
            self.run.resume(load(self.path))

    @property
    def step(self) -> int:
        """Steps of both halves together."""
        return self.run.step

    def advance(self, spent: float) -> float:
        """One step; returns the mean absolute error."""
        self.budget.told = spent
        return self.run.advance(self.world, self.budget)

    def save(self) -> None:
        """The checkpoint."""
        save(self.path, self.run.state())

    def close(self) -> None:
        """The checkpoint is what the denoiser reads."""


class Decoding(Packing):
    """The last stage: the decoder alone, then the folder."""

    def __init__(self, world: World, setting: Setting, output: Path, pictures: int) -> None:
        super().__init__(world, setting, decoder_only=True, resume=True)
        self.setting, self.output, self.pictures = setting, output, pictures

    def close(self) -> None:
        """Write the folder, and a contact sheet of what it draws."""
        folder = export(self.world, self.output, self.setting)
        pipe = look.load(folder)
        prompts = [plain_caption(scene) for scene in random_scenes(self.world, self.pictures)]
        page = sheet([look.paint(pipe, [prompt])[0] for prompt in prompts], prompts)
        page.quantize(160).save(folder / "contact-sheet.png", optimize=True)


class Denoising:
    """The denoiser and its text encoder, with the latents that they have met."""

    def __init__(self, world: World, setting: Setting, *, resume: bool) -> None:
        self.budget, self.path, self.latents = (
            Budget(0),
            setting.checkpoint(denoiser.STAGE),
            setting.checkpoint(LATENTS),
        )
        self.run = denoiser.Run(words.tokenizer(setting.folder / "tokenizer"), setting)
        if resume and self.path.exists():
            self.run.resume(load(self.path))
        network, self.mark = denoiser.settled_autoencoder(world, setting)
        self.pool = Pool(world, network)
        if resume:
            self.pool.load(self.latents, self.mark, denoiser.known_nouns(world.names, self.run.step, setting))

    @property
    def step(self) -> int:
        """Steps of the denoiser."""
        return self.run.step

    def advance(self, spent: float) -> float:
        """One step; returns its loss."""
        self.budget.told = spent
        return self.run.advance(self.pool, self.budget)

    def save(self) -> None:
        """The checkpoint, and the latents that it need not encode again."""
        save(self.path, self.run.state())
        self.pool.save(self.latents, self.mark)

    def close(self) -> None:
        """The checkpoint is what the export reads."""


def stages(world: World, folder: Path, output: Path, seed: int, minutes: float) -> Sequence[Stage]:
    """With `minutes` shared out as the shipped starter's were."""
    setting = Setting(folder, seed)
    pictures = max(8, min(PICTURES, round(minutes)))  # on the contact sheet: a short course is not held up by it

    def packing(resume: bool) -> Work:
        return Packing(world, setting, decoder_only=False, resume=resume)

    def denoising(resume: bool) -> Work:
        return Denoising(world, setting, resume=resume)

    def decoding(resume: bool) -> Work:
        return Decoding(world, setting, output, pictures)

    opening = {"autoencoder": packing, "denoiser": denoising, "decoder": decoding}
    return [Stage(name, minutes * share / MINUTES, opening[name]) for name, share in SHARES.items()]
