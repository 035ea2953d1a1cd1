"""The diffusion trainer from nothing: it learns, goes on after a kill, and leaves a folder that stock code loads."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from generation.training.diffusion import autoencoder, denoiser, latents, look, networks, progress
from generation.training.diffusion.export import STARTER, export
from generation.training.diffusion.latents import Pool
from generation.training.diffusion.progress import Budget, Curve, checkpoint_path, draw, load
from generation.training.world import World, held_out, plain_caption

ROOT = Path(__file__).resolve().parents[3]
ENDLESS = """
import torch
from generation.training.diffusion import autoencoder
from generation.training.diffusion.progress import Budget
from generation.training.world import NOUNS, World
torch.set_num_threads(1)
autoencoder.SAVE_SECONDS = 0.0
body = '<circle cx="16" cy="16" r="12" fill="#d33"/>'
autoencoder.train(World.from_bodies(NOUNS[:3], {noun.icon: body for noun in NOUNS[:3]}), Budget(9), resume=False)
"""


@pytest.fixture(autouse=True)
def training_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TESSERA_TRAINING_DIR", str(tmp_path))
    torch.set_num_threads(1)
    return tmp_path


def _error(run: autoencoder.Run, world: World) -> float:
    pictures = autoencoder.batch(world, draw(1, "fixed", 0), whole=False)
    with torch.no_grad():
        return float(autoencoder.losses(run.network, pictures, torch.Generator().manual_seed(0))[1])


def _loss(run: denoiser.Run, pool: Pool) -> float:
    hidden = torch.stack(pool.latents[False][:8]).float()
    texts = [plain_caption(scene) for scene in pool.scenes[False][:8]]
    with torch.no_grad():
        return float(run.loss(hidden, texts, draw(1, "fixed", 0)))


def test_a_few_steps_lower_both_losses_and_leave_a_folder_that_draws_the_same_twice(
    tiny_world: World, training_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denoiser, "BATCH", 8)
    monkeypatch.setattr(denoiser, "FIRST_POOL", 8)
    monkeypatch.setattr(denoiser, "FRESH", 8)
    monkeypatch.setattr(denoiser, "WHITE_SCENES", 8)
    monkeypatch.setattr(latents, "LARGEST", 8)
    monkeypatch.setattr(progress, "WARM_UP", 4)
    packer, budget = autoencoder.Run(), Budget(1, steps=1000)
    before = _error(packer, tiny_world)
    for _ in range(12):
        packer.advance(tiny_world, budget)
    assert _error(packer, tiny_world) < 0.9 * before
    autoencoder.save(checkpoint_path("autoencoder"), packer.state())

    run = denoiser.train(tiny_world, Budget(1, steps=2), resume=False)
    network, _ = denoiser.settled_autoencoder(tiny_world)
    pool, budget = Pool(tiny_world, network), Budget(1, steps=1000)
    run.advance(pool, budget)
    before = _loss(run, pool)
    for _ in range(20):
        run.advance(pool, budget)
    after = _loss(run, pool)
    assert after < 0.97 * before, (after, before)
    assert not any(held_out(scene) for pair in (False, True) for scene in pool.scenes[pair])
    autoencoder.save(checkpoint_path("denoiser"), run.state())

    folder = export(tiny_world, training_folder / "starter")
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 15_000_000
    pipe = look.load(folder)
    again = look.load(folder)
    one, two = (look.paint(p, ["a dog"], num_inference_steps=2)[0].tobytes() for p in (pipe, again))
    assert one == two


def test_training_goes_on_from_the_folder_that_ships(tiny_world: World, training_folder: Path) -> None:
    autoencoder.adopt(STARTER)
    adopted, _ = denoiser.settled_autoencoder(tiny_world)
    shipped = AutoencoderKL.from_pretrained(STARTER / "vae", local_files_only=True).float()
    pictures = autoencoder.batch(tiny_world, draw(1, "test", 0), whole=True)
    with torch.no_grad():
        one, two = (network.decode(network.encode(pictures).latent_dist.mean).sample for network in (adopted, shipped))
    torch.testing.assert_close(one, two, atol=2e-2, rtol=0)
    autoencoder.train(tiny_world, Budget(1, steps=1), resume=True)


def test_white_latents_decode_to_the_same_picture(tiny_world: World) -> None:
    torch.manual_seed(0)
    network = networks.autoencoder()
    torch.nn.init.normal_(network.quant_conv.weight)  # as training leaves it: no part of it is zero
    pictures = autoencoder.batch(tiny_world, draw(1, "test", 0), whole=False)
    with torch.no_grad():
        before = network.decode(network.encode(pictures).latent_dist.mean).sample
        networks.whiten(network, *networks.spread(network.encode(pictures).latent_dist.mean))
        white = network.encode(pictures).latent_dist.mean
        after = network.decode(white).sample
    assert white.mean().abs() < 1e-3
    assert abs(float(white.std()) - 1) < 0.05
    torch.testing.assert_close(before, after, atol=1e-3, rtol=1e-2)


def test_a_run_in_two_parts_is_the_run_in_one(tiny_world: World) -> None:
    whole, budget = autoencoder.Run(), Budget(1, steps=4)
    for _ in range(4):
        whole.advance(tiny_world, budget)

    part, budget = autoencoder.Run(), Budget(1, steps=4)
    part.advance(tiny_world, budget)
    part.advance(tiny_world, budget)
    autoencoder.save(checkpoint_path("autoencoder"), part.state())
    rest = autoencoder.Run()
    rest.resume(load(checkpoint_path("autoencoder")))
    rest.advance(tiny_world, budget)
    rest.advance(tiny_world, budget)

    assert rest.step == whole.step == 4
    for name, weight in whole.network.state_dict().items():
        torch.testing.assert_close(rest.network.state_dict()[name], weight)


def test_a_killed_run_goes_on_from_its_last_checkpoint(tiny_world: World, training_folder: Path) -> None:
    env = {**os.environ, "TESSERA_TRAINING_DIR": str(training_folder)}
    child = subprocess.Popen([sys.executable, "-c", ENDLESS], cwd=ROOT, env=env)
    path, deadline = checkpoint_path("autoencoder"), time.monotonic() + 120
    while not path.exists() and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.1)
    child.kill()
    child.wait()

    step = load(path)["step"]
    assert step > 0
    assert autoencoder.train(tiny_world, Budget(1, steps=1), resume=True).step == step + 1


def test_noise_levels_cover_the_schedule_and_favour_noise() -> None:
    levels = denoiser.noise_levels(40, draw(1, "levels", 0))
    assert int(levels.min()) < 150 and int(levels.max()) > 985
    assert float(levels.float().mean()) > 600


def test_nouns_are_met_few_at_first_and_all_in_the_end() -> None:
    names = [str(number) for number in range(218)]
    few, more = denoiser.known_nouns(names, 0), denoiser.known_nouns(names, 50)
    assert len(few) == denoiser.NOUNS_FROM
    assert few < more < denoiser.known_nouns(names, 10_000) == frozenset(names)


def test_an_export_keeps_the_card_and_the_sheet_that_people_wrote(
    tmp_path: Path, tiny_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "starter"
    folder.mkdir()
    for name in ("README.md", "contact-sheet.png", "stale.txt"):
        (folder / name).write_text(name)
    monkeypatch.setattr("generation.training.diffusion.export.write", lambda _world, part, _setting: part.mkdir())
    export(tiny_world, folder)
    assert {file.name for file in folder.iterdir()} == {"README.md", "contact-sheet.png"}


def test_the_curve_is_dense_at_first() -> None:
    curve = Curve()
    for step in range(1, 401):
        curve.add(step, float(step))
    assert [step for step, _ in curve.points[:4]] == [5, 10, 15, 20]
    assert curve.points[-1][0] - curve.points[-2][0] == 50
    assert curve.points[0][1] == 3.0
    assert curve.ends_at(5) is False and Curve(curve.points).ends_at(curve.points[-1][0])
