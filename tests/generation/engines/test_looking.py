"""Pictures that are looked at: edited and described as the plain loops of the training do it."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, JanusForConditionalGeneration, PreTrainedTokenizerFast

from generation.engines.base import CancelToken, Engine
from generation.engines.errors import CanceledError, CheckpointError, InvalidNumbersError, InvalidParamsError
from generation.engines.fragments import Fragment, Kind, Note, Step, Words
from generation.engines.mosaic import Mosaic
from generation.engines.params import ABLE_TO, QUESTION, GenerationParams
from generation.engines.source import open_source
from generation.training.multimodal.describing import LONGEST_ANSWER, describe
from generation.training.multimodal.drawing import draw as reference_draw
from generation.training.multimodal.looking import instruction_tokens, stack_pictures
from tests.generation.engines import tiny
from tests.generation.engines.drawing import change, draw, finals, janus_of, loaded, pictures, png, poison, same

EDGE = 32


@pytest.fixture(scope="module")
def engine(looking_folder: Path) -> Engine:
    return loaded(looking_folder, "multimodal")


@pytest.fixture(scope="module")
def network(looking_folder: Path) -> JanusForConditionalGeneration:
    return JanusForConditionalGeneration.from_pretrained(looking_folder).eval()


@pytest.fixture(scope="module")
def tokenizer(looking_folder: Path) -> PreTrainedTokenizerFast:
    tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(looking_folder)
    return tokenizer


def wish(source: bytes, prompt: str = "a cat on white", **changes: Any) -> GenerationParams:
    return GenerationParams(prompt, EDGE, EDGE, 7, source=source, **changes)


def answers(engine: Engine, source: bytes, question: str = "") -> list[Words]:
    asked = wish(source, question, capability="describe")
    return [item for item in engine.generate(asked, CancelToken()) if isinstance(item, Words)]


@pytest.mark.parametrize("question", ["", "a cat", "is <image_placeholder> a dog"])
def test_it_describes_as_the_reference_does(
    question: str, engine: Engine, network: JanusForConditionalGeneration, tokenizer: PreTrainedTokenizerFast
) -> None:
    shown = pictures()
    expected = describe(network, tokenizer, stack_pictures(shown), question or QUESTION)
    assert len(set(expected)) >= 3, "the tiny network heeds its picture"
    said = [answers(engine, png(picture), question) for picture in shown]
    assert [words[:LONGEST_ANSWER][-1].text for words in said] == expected, "the reference stops sooner"


@pytest.mark.parametrize("temperature", [0, 0.7])
def test_it_edits_as_the_reference_does(
    temperature: float,
    engine: Engine,
    network: JanusForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    looking_folder: Path,
) -> None:
    mosaic = Mosaic.load(looking_folder)
    drawn = []
    for picture in pictures():
        torch.manual_seed(7)
        [codes] = reference_draw(
            network,
            mosaic,
            [instruction_tokens(tokenizer, "a cat on white")],
            temperature,
            stack_pictures([picture]),
        )
        options = {"capability": "edit", "source": png(picture), "temperature": temperature, "guidance": 1}
        [final] = finals(draw(engine, EDGE, prompt="a cat on white", **options))
        assert np.array_equal(final.pixels, mosaic.decode(codes.tolist()))
        drawn.append(final.pixels.tobytes())
    assert len(set(drawn)) >= 3, "the picture that is handed in matters"


def test_words_come_one_by_one_and_the_last_say_all(engine: Engine) -> None:
    *growing, final = answers(engine, png(pictures()[2]), "a cat")
    assert len(growing) >= 2 and final.final and not any(words.final for words in growing)
    assert all(after.text.startswith(before.text) for before, after in zip(growing, growing[1:], strict=False))
    assert growing[-1].text == final.text


def test_an_edit_streams_and_obeys_seeds_guidance_and_words(engine: Engine) -> None:
    options: dict[str, Any] = {"capability": "edit", "source": png(pictures()[0]), "count": 2}
    items = draw(engine, EDGE, **options)
    assert {item.kind for item in items} == {Kind.FRAGMENT, Kind.FINAL}
    first, second = finals(items)
    assert (first.seed, second.seed) == (7, 8) and not same(first, second)
    again, _ = finals(draw(engine, EDGE, **options))
    assert same(first, again)
    options |= {"count": 1, "temperature": 0}
    plain, guided, other = (
        finals(draw(engine, EDGE, **options, **changes))[0]
        for changes in ({"guidance": 1}, {"guidance": 4}, {"guidance": 1, "prompt": "a dog"})
    )
    assert not same(plain, guided) and not same(plain, other)


def test_without_words_the_picture_stays(engine: Engine) -> None:
    with_words, without = janus_of(engine)._writer.edit("a cat", guided=True, codes=65).rows.tolist()
    assert with_words == [1, 7, 8, *[6] * 64, 5, 4]
    assert without == [1, 0, 0, *[6] * 64, 5, 4]


@pytest.mark.parametrize("special", ["<image>", "<boi>", "<eoi>", "<pad>", "<bos>", "<eos>"])
def test_nobodys_words_are_taken_for_more(special: str, engine: Engine) -> None:
    unknown = janus_of(engine)._writer.draw("a <unk> cat", guided=False, codes=65).rows.tolist()
    assert unknown == [[1, 7, 3, 8, 4]]
    assert janus_of(engine)._writer.draw(f"a {special} cat", guided=False, codes=65).rows.tolist() == unknown
    picture = png(pictures()[0])
    assert answers(engine, picture, f"a {special}") == answers(engine, picture, "a <unk>")


def test_a_long_instruction_is_cut_and_said_so(engine: Engine) -> None:
    note, *rest = engine.generate(wish(png(pictures()[0]), "cat " * 200, capability="edit"), CancelToken())
    assert isinstance(note, Note) and note.kind == "prompt.truncated"
    assert isinstance(rest[-1], Fragment) and rest[-1].kind is Kind.FINAL


def test_cancel_stops_before_the_next_word(engine: Engine) -> None:
    cancel, said = CancelToken(), []
    items = engine.generate(wish(png(pictures()[3]), "a cat", capability="describe"), cancel)
    with pytest.raises(CanceledError):
        for item in items:
            said += [item] if isinstance(item, Words) else []
            if len(said) == 2:
                cancel.cancel()
    assert len(said) == 2


def test_a_sign_of_life_comes_with_every_word(engine: Engine) -> None:
    items = list(engine.generate(wish(png(pictures()[2]), "a cat", capability="describe"), CancelToken()))
    words = [item for item in items if isinstance(item, Words)]
    assert [item.step for item in items if isinstance(item, Step)] == list(range(1, len(words)))


def test_a_picture_of_another_size_is_brought_to_the_canvas(engine: Engine) -> None:
    exact = pictures()[0]
    assert np.array_equal(np.asarray(open_source(png(exact), EDGE, EDGE)), exact), "untouched when it fits"
    larger = png(exact.repeat(3, axis=0).repeat(3, axis=1))
    assert answers(engine, larger)[-1].final
    [final] = finals(draw(engine, EDGE, capability="edit", source=larger))
    assert final.pixels.shape == (EDGE, EDGE, 3)


def test_what_is_no_picture_is_refused(engine: Engine) -> None:
    for able in ("edit", "describe"):
        with pytest.raises(InvalidParamsError, match="cannot be read"):
            list(engine.generate(wish(b"no picture", capability=able), CancelToken()))


def test_who_was_not_trained_for_it_refuses(mosaic_folder: Path) -> None:
    plain = loaded(mosaic_folder, "multimodal")
    for able in ("edit", "describe"):
        with pytest.raises(InvalidParamsError, match=f"cannot {ABLE_TO[able]}; it can draw from words alone."):
            list(plain.generate(wish(png(pictures()[0]), capability=able), CancelToken()))


def test_the_longest_answer_must_fit(tmp_path: Path) -> None:
    small = tiny.mosaic(grid=(4, 4))  # 17 codes: whoever has room for these has none for 64 words
    folder = tiny.save_looking(tmp_path, small)
    with pytest.raises(CheckpointError, match="64 codes or words, 64 places .* need more than 107 positions"):
        loaded(folder, "multimodal")


def test_a_checkpoint_that_speaks_in_chats_cannot_be_asked_to_edit(looking_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(looking_folder, tmp_path / "chatty")
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'][0]['text'] }}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="speaks in chats"):
        loaded(folder, "multimodal")
    change(folder / "tessera.json", capabilities=[])
    assert finals(draw(loaded(folder, "multimodal"), EDGE))


def test_a_network_without_room_for_the_picture_is_refused(tmp_path: Path) -> None:
    folder = tiny.save_mosaic(tmp_path / "short")
    (folder / "tessera.json").write_text('{"capabilities": ["edit"]}', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"64 places of a picture to look at and a prompt need more than 89"):
        loaded(folder, "multimodal")


def test_weights_that_are_no_numbers_are_an_error(looking_folder: Path, tmp_path: Path) -> None:
    names = ("model.language_model.embed_tokens.weight", "model.vision_model.post_layernorm.weight")
    for number, name in enumerate(names):
        folder = shutil.copytree(looking_folder, tmp_path / str(number))
        poison(folder / "model.safetensors", name)
        with pytest.raises(InvalidNumbersError):
            answers(loaded(folder, "multimodal"), png(pictures()[0]))
