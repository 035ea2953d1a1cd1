"""A Janus as its makers publish it: asked in chats, shown whole pictures. Compared with transformers' own calls."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import JanusForConditionalGeneration, JanusProcessor

from generation.engines.base import CancelToken, Engine
from generation.engines.errors import CheckpointError, InvalidParamsError
from generation.engines.fragments import Note, Pixels, Step, Words
from generation.engines.inspection import inspect_checkpoint
from generation.engines.janus_picture import PictureReader
from generation.engines.params import QUESTION, GenerationParams
from tests.generation.engines import tiny_janus_chat as chatty
from tests.generation.engines.drawing import change, draw, finals, janus_of, loaded, pictures, png

EDGE = chatty.EDGE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chatty.save_chatting(tmp_path_factory.mktemp("chat") / "janus")


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return loaded(folder, "multimodal")


@pytest.fixture(scope="module")
def processor(folder: Path) -> Any:
    return JanusProcessor.from_pretrained(folder)


@pytest.fixture(scope="module")
def network(folder: Path) -> JanusForConditionalGeneration:
    return JanusForConditionalGeneration.from_pretrained(folder).eval()


def shapes() -> list[Pixels]:
    """Square, lying, standing, long, and of the very size."""
    noise = pictures(48)
    return [noise[0], noise[2][:20], noise[3][:, :30], noise[0][:5], noise[3][:EDGE, :EDGE]]


def inputs_of(processor: Any, picture: Pixels, question: str) -> Any:
    """As the library's documentation asks."""
    parts = [{"type": "image"}, {"type": "text", "text": question}]
    text = processor.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True)
    shown = Image.fromarray(np.ascontiguousarray(picture))
    return processor(text=text, images=shown, generation_mode="text", return_tensors="pt")


def wish(source: bytes, question: str = "") -> GenerationParams:
    return GenerationParams(question, EDGE, EDGE, 7, source=source, capability="describe")


def answers(engine: Engine, picture: Pixels, question: str = "") -> list[Words]:
    items = engine.generate(wish(png(picture), question), CancelToken())
    return [item for item in items if isinstance(item, Words)]


def test_it_understands_pictures_without_being_told(folder: Path, tmp_path: Path) -> None:
    assert inspect_checkpoint(folder).capabilities == ("text_to_image", "describe")
    quiet = shutil.copytree(folder, tmp_path / "quiet")
    (quiet / "tessera.json").write_text('{"capabilities": []}', encoding="utf-8")
    assert inspect_checkpoint(quiet).capabilities == ("text_to_image",), "the folder's own word goes before"
    blind = shutil.copytree(folder, tmp_path / "blind")
    (blind / "chat_template.jinja").write_text("{{ messages[0].content[0].text }}", encoding="utf-8")
    assert inspect_checkpoint(blind).capabilities == ("text_to_image",), "no place for pictures in its chats"


@pytest.mark.parametrize("question", ["a cat?", "is it a dog  on blue", "Ünïcode\n\nlines"])
@pytest.mark.parametrize("system", [True, False])
def test_questions_are_written_as_the_processor_does(
    question: str, system: bool, folder: Path, processor: Any, tmp_path: Path
) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    change(other / "processor_config.json", use_default_system_prompt=system)
    processor.use_default_system_prompt = system
    expected = inputs_of(processor, pictures()[0], question).input_ids
    asked = janus_of(loaded(other, "multimodal"))._writer.ask(question)  # type: ignore[union-attr]
    assert asked.rows.tolist() == expected.tolist() and not asked.truncated
    assert (expected == chatty.SPECIAL.index("<image_placeholder>")).sum() == 64
    processor.use_default_system_prompt = True


def test_pictures_are_prepared_as_the_processor_does(folder: Path, processor: Any) -> None:
    reader = PictureReader(folder, EDGE)
    for picture in shapes():
        expected = inputs_of(processor, picture, "?").pixel_values
        assert expected.shape == (1, 3, EDGE, EDGE)
        assert torch.equal(reader.read(png(picture)), expected)


@pytest.mark.parametrize("question", ["", "is it a dog"])
def test_it_answers_token_for_token_as_the_library(
    question: str, engine: Engine, processor: Any, network: JanusForConditionalGeneration
) -> None:
    said = []
    for picture in shapes():
        inputs = inputs_of(processor, picture, question or QUESTION)
        whole = network.generate(**inputs, generation_mode="text", do_sample=False, max_new_tokens=512)
        expected = whole[0, inputs.input_ids.shape[1] :].tolist()
        *growing, final = answers(engine, picture, question)
        assert final.final and final.text == processor.tokenizer.decode(expected, skip_special_tokens=True).strip()
        assert len(growing) == len(expected) - (expected[-1] == 2)
        said.append(final.text)
    assert len(set(said)) >= 4, "the tiny network heeds its picture"


def test_an_answer_may_be_longer_than_a_starters(engine: Engine) -> None:
    steps = list(engine.generate(wish(png(pictures()[0])), CancelToken()))
    assert {item.steps for item in steps if isinstance(item, Step)} == {512}


@pytest.mark.parametrize("special", ["<image_placeholder>", "<begin_of_image>", "</s>", "<|User|>"])
def test_nobodys_words_are_taken_for_more(special: str, engine: Engine) -> None:
    writer = janus_of(engine)._writer
    assert writer is not None
    assert writer.ask(f"a {special} cat").rows.tolist() == writer.ask("a   cat").rows.tolist()


def test_a_long_question_is_cut_before_the_end_of_the_chat(engine: Engine) -> None:
    writer = janus_of(engine)._writer
    assert writer is not None
    short, long = writer.ask("cat"), writer.ask("dog " * 400)
    assert long.truncated and not short.truncated
    assert long.rows.shape[1] + writer.longest_answer <= 900
    assert long.rows[0, -13:].tolist() == short.rows[0, -13:].tolist(), "the answer's turn still follows"
    note, *rest = engine.generate(wish(png(pictures()[0]), "dog " * 400), CancelToken())
    assert isinstance(note, Note) and note.kind == "prompt.truncated"
    assert isinstance(rest[-1], Words) and rest[-1].final


def test_it_draws_as_the_library(engine: Engine, processor: Any, network: JanusForConditionalGeneration) -> None:
    parts = [{"type": "text", "text": "a cat"}]
    text = processor.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True)
    inputs = processor(text=text, generation_mode="image", return_tensors="pt")
    codes = network.generate(**inputs, generation_mode="image", do_sample=False, guidance_scale=3.0)
    [final] = finals(draw(engine, EDGE, prompt="a cat", temperature=0, guidance=3.0))
    assert list(final.codes) == codes[0].tolist()
    picture = network.decode_image_tokens(codes)[0]
    expected = ((picture + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    assert np.array_equal(final.pixels, expected.numpy())


def use_another_size(folder: Path) -> None:
    settings = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
    settings["image_processor"]["size"] = {"height": 32, "width": 32}
    change(folder / "processor_config.json", **settings)


def show_no_picture(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{# no image #}a{{ messages[0].content[-1].text }}", encoding="utf-8")


def claim_to_edit(folder: Path) -> None:
    (folder / "tessera.json").write_text('{"capabilities": ["edit"]}', encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (use_another_size, "another size than the 16x16"),
        (show_no_picture, "no place for a picture"),
        (claim_to_edit, "cannot ask for a picture to be changed"),
    ],
)
def test_parts_that_do_not_fit_are_refused_when_it_is_loaded(
    damage: Any, reason: str, folder: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    damage(other)
    with pytest.raises(CheckpointError, match=reason):
        loaded(other, "multimodal")


def test_what_is_no_picture_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidParamsError, match="cannot be read"):
        list(engine.generate(wish(b"no picture"), CancelToken()))
