"""Describing and editing in small: the tower learns to see, all tasks share a step, a killed run goes on."""

from pathlib import Path
from random import Random

import pytest
import torch
from transformers import JanusForConditionalGeneration, JanusImageProcessor

from generation.training.multimodal import architecture
from generation.training.multimodal.batches import encode_scenes, pad_left
from generation.training.multimodal.codebook import Codebook
from generation.training.multimodal.describing import describe, score_all
from generation.training.multimodal.drawing import draw, score_codes
from generation.training.multimodal.export import export
from generation.training.multimodal.heads import COPYING, MATCHING, can_follow, with_following_heads
from generation.training.multimodal.looking import (
    HALF,
    MIDDLE,
    embed_prompts,
    instruction_tokens,
    question_tokens,
)
from generation.training.multimodal.plan import Plan, following_plan
from generation.training.multimodal.roles import ROLES, patch_roles
from generation.training.multimodal.seeing import build_seer, meant
from generation.training.multimodal.tasks import edit_batch, look_at, question_batch, sample_steps, task_loss
from generation.training.multimodal.trainer import Trainer, build_trainer
from generation.training.multimodal.vocabulary import BOI, EOI, EOS, IMAGE, PAD, build_tokenizer
from generation.training.world import Scene, World, all_words, answer, sample_edit

SMALL = {"score_prompts": 2, "export_prompts": 2}
TOKENIZER = build_tokenizer(all_words())


pytestmark = pytest.mark.usefixtures("small")


@pytest.fixture(scope="module")
def codebook(tiny_world: World) -> Codebook:
    return Codebook.build(tiny_world)


def network(codebook: Codebook) -> JanusForConditionalGeneration:
    return architecture.build_model(codebook, TOKENIZER, 7)


def trainer_for(folder: Path, codebook: Codebook, *, resume: bool = False) -> Trainer:
    """Begins from a folder with the weights alone, as an exported one has them."""
    if not (folder / "start").exists():
        network(codebook).save_pretrained(folder / "start")
    plan = following_plan(folder / "run", folder / "start", batch=8, warm_steps=2, **SMALL)
    return build_trainer(plan, codebook.world, resume=resume)


def test_the_tower_learns_what_the_language_model_knows(codebook: Codebook, tmp_path: Path) -> None:
    model = network(codebook)
    drawing = {name: value.clone() for name, value in architecture.drawing_parameters(model).items()}
    seer = build_seer(Plan(tmp_path, batch=4, warm_steps=2), codebook, model, TOKENIZER)
    losses = [seer.train_step() for _ in range(24)]
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    assert all(torch.equal(value, drawing[name]) for name, value in architecture.drawing_parameters(model).items())
    assert all(0 <= share <= 1 for share in seer.score(2))
    seer.save()
    again = build_seer(seer.plan, codebook, network(codebook), TOKENIZER, resume=True)
    assert again.step == 24
    assert again.score(4) == seer.score(4)


def test_an_empty_patch_means_its_ground() -> None:
    assert meant(torch.tensor([[3, 12, 20, 12]]), 12).tolist() == [[3, 20, 3]]


def test_patches_know_the_role_of_their_object() -> None:
    pair = patch_roles([Scene("dog", "red", "cat", "below")]).view(8, 8)
    assert [ROLES[pair[row, 3]] for row in (0, 4)] == ["above", "below"]
    assert set(pair[:, :2].flatten().tolist()) == {0}
    lone = patch_roles([Scene("dog", "red"), Scene("dog", "red", size="small", spot="left")])
    assert [ROLES[row.max()] for row in lone] == ["large", "small"]
    assert lone.count_nonzero(1).tolist() == [36, 16]


@pytest.fixture
def wide(codebook: Codebook) -> JanusForConditionalGeneration:
    model = with_following_heads(network(codebook), codebook.world, TOKENIZER)
    model.model.language_model.set_attn_implementation("eager")
    return model


def looks(model: JanusForConditionalGeneration, text: str, scene: Scene) -> tuple[torch.Tensor, torch.Tensor]:
    """[layers, heads, places, places] of this instruction, this picture and an answer; and the prompt."""
    prompt = torch.tensor([instruction_tokens(TOKENIZER, text)])
    given = embed_prompts(model, prompt, torch.zeros((1, 3, 128, 128)))
    words = model.model.language_model.embed_tokens
    role = torch.nn.functional.normalize(words(torch.tensor(TOKENIZER.convert_tokens_to_ids("left"))), dim=0)
    patches = (words(torch.tensor(TOKENIZER.convert_tokens_to_ids(scene.first))) + role).expand(1, 64, -1)
    given = given.masked_scatter((prompt == IMAGE).unsqueeze(-1), patches)  # as a trained tower would see it
    drawn = model.prepare_embeddings_for_image_generation(torch.full((1, 65), 14))
    with torch.no_grad():
        seen = model.model.language_model(inputs_embeds=torch.cat([given, drawn], dim=1), output_attentions=True)
    return torch.cat(seen.attentions), prompt[0]


def test_the_new_heads_change_nothing_yet(codebook: Codebook, wide: JanusForConditionalGeneration) -> None:
    narrow = network(codebook)
    prompt = torch.tensor([instruction_tokens(TOKENIZER, "swap them")])
    given = embed_prompts(narrow, prompt, look_at(codebook, [Scene("dog", "red")]))
    with torch.no_grad():
        before = narrow.model.language_model(inputs_embeds=given).last_hidden_state
        after = wide.model.language_model(inputs_embeds=given).last_hidden_state
    assert torch.allclose(before, after, atol=1e-4)


def test_copying_heads_look_at_the_same_tile(wide: JanusForConditionalGeneration) -> None:
    seen, prompt = looks(wide, "swap them", Scene("dog", "red"))
    first, tile = prompt.tolist().index(IMAGE), len(prompt)  # of the patches; where tile 0 is decided
    for head in COPYING:
        assert torch.equal(
            seen[:, head, tile : tile + 64].argmax(-1), torch.arange(first, first + 64).expand(len(seen), -1)
        )


def test_matching_heads_look_at_the_noun_that_a_patch_shows(wide: JanusForConditionalGeneration) -> None:
    text, shares = "replace the cat with a dog", []
    for noun in ("dog", "cat"):
        seen, prompt = looks(wide, text, Scene(noun, "red"))
        first, word = prompt.tolist().index(IMAGE), prompt.tolist().index(TOKENIZER.convert_tokens_to_ids("dog"))
        shares.append(seen[0, MATCHING[0], first : first + 48, word].mean())
    assert shares[0] > 3 * shares[1]


def test_what_follows_is_what_stock_transformers_loads(wide: JanusForConditionalGeneration, tmp_path: Path) -> None:
    wide.save_pretrained(tmp_path)
    again, report = JanusForConditionalGeneration.from_pretrained(
        tmp_path, local_files_only=True, output_loading_info=True
    )
    assert can_follow(again)
    assert not report["missing_keys"]


def test_a_picture_stands_after_the_words(codebook: Codebook) -> None:
    question, instruction = question_tokens(TOKENIZER, "describe it"), instruction_tokens(TOKENIZER, "swap")
    assert question[3:] == [IMAGE] * 64 + [EOI]
    assert instruction[2:] == [IMAGE] * 64 + [EOI, BOI]
    assert len(instruction_tokens(TOKENIZER, "swap " * 900)) == 64 + 64 + 2


def test_it_looks_the_way_stock_janus_does(codebook: Codebook) -> None:
    model, pictures = network(codebook), look_at(codebook, [Scene("dog", "red"), Scene("cat", "blue")])
    prompts, _ = pad_left([question_tokens(TOKENIZER, "describe it"), question_tokens(TOKENIZER, "what is this ?")])
    stock = JanusImageProcessor(size={"height": 128, "width": 128}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    pixels = stock(list(pictures), return_tensors="pt").pixel_values
    assert torch.allclose(pixels, (pictures.float() - MIDDLE) / HALF, atol=1e-5)
    with torch.no_grad():
        ours = model.model.language_model(inputs_embeds=embed_prompts(model, prompts, pictures)).last_hidden_state
        theirs = model.model(input_ids=prompts, pixel_values=pixels).last_hidden_state
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_answers_are_the_target_or_its_words(codebook: Codebook) -> None:
    rng = Random(1)  # noqa: S311
    edits = [sample_edit(codebook.world, rng) for _ in range(4)]
    batch = edit_batch(codebook, TOKENIZER, edits)
    assert torch.equal(batch.answers, encode_scenes(codebook, [edit.target for edit in edits]))
    scenes = [codebook.world.sample(rng) for _ in range(4)]
    asked = question_batch(codebook, TOKENIZER, rng, scenes)
    for row, scene in zip(asked.answers.tolist(), scenes, strict=True):
        assert TOKENIZER.decode([word for word in row if word not in (EOS, PAD)]) == answer(scene)


def test_one_step_holds_every_task_and_each_has_a_loss(codebook: Codebook, tmp_path: Path) -> None:
    plan = following_plan(tmp_path, tmp_path, batch=32)
    assert plan.parts(0) == {"draw": 8, "describe": 8, "edit": 12, "copy": 4, "restate": 16}
    assert plan.parts(640) == {"draw": 11, "describe": 4, "edit": 16, "copy": 1, "restate": 4}
    model, empty = network(codebook), codebook.mosaic.empty
    small = following_plan(tmp_path, tmp_path, batch=8)
    for step in sample_steps(codebook, TOKENIZER, Random(2), small.parts(0)):  # noqa: S311
        assert [len(batch.answers) for batch in step] == [2, 2, 3, 1, 4]
        assert [batch.pictures is not None for batch in step] == [False, True, True, True, False]
        assert all(task_loss(model, batch, empty).item() > 0 for batch in step)


def test_a_few_steps_of_all_tasks_lower_the_loss_and_a_killed_run_goes_on(codebook: Codebook, tmp_path: Path) -> None:
    straight = trainer_for(tmp_path, codebook)
    tower = straight.model.model.vision_model.encoder.layers[0].mlp.fc1.weight.clone()
    losses = [straight.train_step() for _ in range(21)]
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])
    assert torch.equal(tower, straight.model.model.vision_model.encoder.layers[0].mlp.fc1.weight)
    straight.save()
    expected = [straight.train_step() for _ in range(2)]
    resumed = trainer_for(tmp_path, codebook, resume=True)
    assert [resumed.train_step() for _ in range(2)] == pytest.approx(expected, rel=1e-3)
    line = score_all(resumed.model, codebook, TOKENIZER, resumed.plan)
    assert line.keys() == {"one", "two", "describe one", "describe two", "edit"}


def test_what_an_edit_leaves_behind_is_wrong(codebook: Codebook) -> None:
    pair = Scene("dog", "red", "cat", "left of")
    kept = encode_scenes(codebook, [pair, pair.without_second()])
    found = score_codes(codebook, kept, [pair.without_second()] * 2, ask_judge=True)
    assert (found.exact, found.judged, found.ground) == (0.5, 0.5, 1.0)


def test_an_exported_follower_says_so_and_brings_its_image_processor(codebook: Codebook, tmp_path: Path) -> None:
    trainer = trainer_for(tmp_path, codebook)
    trainer.train_step()
    trainer.log_score()
    export(trainer, tmp_path / "starter")
    text = (tmp_path / "starter" / "README.md").read_text()
    assert "| edit: swap |" in text
    assert "describe one" in text
    processor = JanusImageProcessor.from_pretrained(tmp_path / "starter")
    pictures = look_at(codebook, [Scene("dog", "red")])
    pixels = processor(list(pictures), return_tensors="pt").pixel_values
    assert torch.allclose(pixels, (pictures.float() - MIDDLE) / HALF, atol=1e-5)


def test_any_words_about_a_picture_give_an_answer(codebook: Codebook) -> None:
    model, pictures = network(codebook), look_at(codebook, [Scene("dog", "red")])
    for text in ("", "🐈 кошка", "cat " * 1000, "<image_placeholder><pad>"):
        assert len(describe(model, TOKENIZER, pictures, text)) == 1
        codes = draw(model, codebook.mosaic, [instruction_tokens(TOKENIZER, text)], pictures=pictures)
        assert codes.shape == (1, 65)


def test_weights_for_another_codebook_are_refused(codebook: Codebook, tmp_path: Path) -> None:
    network(codebook).save_pretrained(tmp_path)
    fewer = World(codebook.world.nouns[:4], {size: icons[:4] for size, icons in codebook.world.icons.items()})
    with pytest.raises(ValueError, match="another codebook"):
        architecture.read_model(tmp_path, Codebook.build(fewer))
