"""The multimodal trainer in small: it learns, survives a kill, and exports what stock transformers loads."""

import json
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import AutoTokenizer, JanusForConditionalGeneration

from generation.engines.mosaic import Mosaic
from generation.training.multimodal.batches import emptied, pad_left, prompt_tokens, sample_batches
from generation.training.multimodal.drawing import code_loss, draw
from generation.training.multimodal.export import export
from generation.training.multimodal.muon import orthogonalised
from generation.training.multimodal.plan import Plan, rate_share
from generation.training.multimodal.trainer import CHECKPOINT, Trainer, build_trainer
from generation.training.multimodal.vocabulary import BOI, BOS, PAD, UNK
from generation.training.world import World

pytestmark = pytest.mark.usefixtures("small")


def plan_for(folder: Path) -> Plan:
    return Plan(
        folder, minutes=0.05, batch=8, warm_steps=2, score_prompts=2, export_prompts=2, muon_rate=0.02, adam_rate=5e-3
    )


def trainer_for(folder: Path, world: World, *, resume: bool = False) -> Trainer:
    return build_trainer(plan_for(folder), world, resume=resume)


def test_a_few_steps_from_nothing_lower_the_loss(tiny_world: World, tmp_path: Path) -> None:
    trainer = trainer_for(tmp_path, tiny_world)
    losses = [trainer.train_step() for _ in range(30)]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_resumed_it_goes_on_exactly_where_it_stopped(tiny_world: World, tmp_path: Path) -> None:
    straight = trainer_for(tmp_path, tiny_world)
    for _ in range(3):
        straight.train_step()
    straight.save()
    expected = [straight.train_step() for _ in range(2)]
    resumed = trainer_for(tmp_path, tiny_world, resume=True)
    assert (resumed.step, resumed.pictures) == (3, 24)
    assert [resumed.train_step() for _ in range(2)] == pytest.approx(expected, rel=1e-4)


def test_a_kill_while_saving_leaves_the_last_whole_checkpoint(tiny_world: World, tmp_path: Path) -> None:
    trainer = trainer_for(tmp_path, tiny_world)
    trainer.train_step()
    trainer.save()
    (tmp_path / CHECKPOINT).with_suffix(".part").write_bytes(b"half a checkpoint")
    assert trainer_for(tmp_path, tiny_world, resume=True).step == 1


def test_exported_folder_loads_with_stock_classes_and_draws_the_same(tiny_world: World, tmp_path: Path) -> None:
    trainer = trainer_for(tmp_path / "run", tiny_world)
    trainer.train()
    export(trainer, tmp_path / "starter")
    model = JanusForConditionalGeneration.from_pretrained(tmp_path / "starter", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "starter")
    mosaic = Mosaic.load(tmp_path / "starter")
    assert model.config.vision_config.num_image_tokens == mosaic.tokens
    assert model.generation_config.generation_kwargs["boi_token_id"] == tokenizer.boi_token_id == BOI
    prompts = [prompt_tokens(tokenizer, "dog on blue"), prompt_tokens(tokenizer, "a cat left of a dog on red")]
    codes = draw(model, mosaic, prompts)
    assert torch.equal(codes, draw(model, mosaic, prompts))
    assert mosaic.decode(codes[0].tolist()).shape == (128, 128, 3)
    assert "Learning curve" in (tmp_path / "starter" / "README.md").read_text()
    assert (tmp_path / "starter" / "contact-sheet.png").stat().st_size < 200_000
    curve = (tmp_path / "run" / "curve.jsonl").read_text().splitlines()
    assert {"minutes", "step", "pictures", "loss", "one", "two"} <= json.loads(curve[-1]).keys()


def test_left_padding_does_not_change_the_picture(tiny_world: World, tmp_path: Path) -> None:
    trainer = trainer_for(tmp_path, tiny_world)
    for _ in range(5):
        trainer.train_step()
    short = prompt_tokens(trainer.tokenizer, "dog on blue")
    long = prompt_tokens(trainer.tokenizer, "a picture of the dog is to the left of a cat on a blue background")
    alone = draw(trainer.model, trainer.codebook.mosaic, [short])
    together = draw(trainer.model, trainer.codebook.mosaic, [short, long])
    assert torch.equal(alone[0], together[0])


@pytest.mark.parametrize("text", ["", " \n", "🐈", "кошка 猫", "x" * 4000, "cat " * 1000, "<pad><bos>", "\0"])
def test_any_text_is_a_prompt(tiny_world: World, tmp_path: Path, text: str) -> None:
    trainer = trainer_for(tmp_path, tiny_world)
    prompt = prompt_tokens(trainer.tokenizer, text)
    assert prompt[0] == BOS
    assert prompt[-1] == BOI
    assert len(prompt) <= 65
    assert draw(trainer.model, trainer.codebook.mosaic, [prompt]).shape == (1, 65)


def test_words_and_the_unconditional_prompt(tiny_world: World, tmp_path: Path) -> None:
    tokenizer = trainer_for(tmp_path, tiny_world).tokenizer
    prompt = prompt_tokens(tokenizer, "A Cat ON Blue")
    assert UNK not in prompt
    assert tokenizer.decode(prompt, skip_special_tokens=True) == "a cat on blue"
    assert emptied(prompt) == [BOS, PAD, PAD, PAD, PAD, BOI]
    padded, mask = pad_left([prompt, [BOS, BOI]])
    assert padded[1].tolist() == [PAD, PAD, PAD, PAD, BOS, BOI]
    assert mask[1].tolist() == [0, 0, 0, 0, 1, 1]


def test_scoring_a_share_of_places_and_codes_is_right_on_average(tiny_world: World, tmp_path: Path) -> None:
    trainer = trainer_for(tmp_path, tiny_world)
    empty = trainer.codebook.mosaic.empty
    batch = sample_batches(trainer.codebook, trainer.tokenizer, Random(8), 16, 1)[0]  # noqa: S311
    with torch.no_grad():
        whole = code_loss(trainer.model, batch, empty, 1.0, 1.0).item()
        parts = [code_loss(trainer.model, batch, empty).item() for _ in range(60)]
    assert sum(parts) / len(parts) == pytest.approx(whole, rel=0.03)


def test_muon_brings_singular_values_near_one() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalised(torch.randn(2, 48, 32)))
    assert 0.3 < values.min() < values.max() < 1.6


def test_rate_warms_holds_and_falls(tmp_path: Path) -> None:
    plan = Plan(tmp_path, minutes=100, warm_steps=10)
    assert rate_share(plan, 0, 0) == pytest.approx(0.1)
    assert rate_share(plan, 500, 50) == 1.0
    assert rate_share(plan, 500, 100) == pytest.approx(0.05)
