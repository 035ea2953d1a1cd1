"""Emu3 on a tiny real checkpoint: drawing and answering, compared with transformers' own calls."""

import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Emu3ForConditionalGeneration, Emu3Processor

from generation.engines.base import CancelToken, Engine
from generation.engines.emu3 import Emu3Engine
from generation.engines.emu3_decoder import Emu3Decoder
from generation.engines.emu3_loop import Sampling, choose
from generation.engines.emu3_picture import Emu3PictureReader, codes_of
from generation.engines.errors import CanceledError, CheckpointError, InvalidNumbersError, InvalidParamsError
from generation.engines.fragments import Fragment, Kind, Note, Pixels, Step, Words
from generation.engines.inspect_emu3 import SHAPES
from generation.engines.inspection import inspect_checkpoint
from generation.engines.multimodal import MultimodalEngine
from generation.engines.params import QUESTION, GenerationParams
from tests.generation.engines import tiny_emu3
from tests.generation.engines.drawing import change, finals, loaded, pictures, png, poison, same
from tests.generation.engines.record import drawn

WIDE, HIGH = 64, 48
ROWS, COLUMNS = HIGH // 8, WIDE // 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_emu3.save_emu3(tmp_path_factory.mktemp("emu3") / "both")


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return loaded(folder, "multimodal")


@pytest.fixture(scope="module")
def processor(folder: Path) -> Any:
    return Emu3Processor.from_pretrained(folder)


@pytest.fixture(scope="module")
def network(folder: Path) -> Any:
    return Emu3ForConditionalGeneration.from_pretrained(folder).eval()


def emu3_of(engine: Engine) -> Any:
    assert isinstance(engine, MultimodalEngine) and isinstance(engine._inner, Emu3Engine)
    return engine._inner


def draw(engine: Engine, prompt: str = "a cat", **wish: Any) -> list[Fragment]:
    params = GenerationParams(**{"prompt": prompt, "width": WIDE, "height": HIGH, "seed": 7, **wish})
    found = [item for item in engine.generate(params, CancelToken()) if isinstance(item, Fragment)]
    drawn("Emu3ForConditionalGeneration")
    return found


def asking(source: bytes, question: str = "") -> GenerationParams:
    return GenerationParams(question, WIDE, HIGH, 7, source=source, capability="describe")


def answers(engine: Engine, source: bytes, question: str = "") -> list[Words]:
    return [item for item in engine.generate(asking(source, question), CancelToken()) if isinstance(item, Words)]


def to_draw(processor: Any, prompt: str, ratio: str = "4:3", area: int = WIDE * HIGH) -> Any:
    return processor(text=prompt, return_for_image_generation=True, ratio=ratio, image_area=area, return_tensors="pt")


def to_ask(processor: Any, picture: Pixels, question: str) -> Any:
    """As the library's documentation asks."""
    chat = [
        {"role": "system", "content": [{"type": "text", "text": "You are a helpful assistant."}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]},
    ]
    text = processor.apply_chat_template(chat, add_generation_prompt=True)
    shown = Image.fromarray(np.ascontiguousarray(picture))
    return processor(images=[shown], text=[text], return_tensors="pt")


def library_codes(network: Any, processor: Any, prompt: str, negative: str, guidance: float) -> torch.Tensor:
    """Greedy tokens of `generate`, held to rows of codes as the library's documentation does it."""
    inputs, other = to_draw(processor, prompt), to_draw(processor, negative)
    [[rows, columns]] = inputs.pop("image_sizes")
    tokenizer, visual, length = processor.tokenizer, network.vocabulary_mapping.image_tokens, inputs.input_ids.shape[1]
    last = [tokenizer.eof_token_id, tokenizer.eoi_token_id, tokenizer.eos_token_id]

    def allowed(batch: int, ids: torch.Tensor) -> list[int]:
        place = len(ids) - length
        if place >= rows * (columns + 1):
            return [last[place - rows * (columns + 1)]]
        return [network.vocabulary_mapping.eol_token_id] if place % (columns + 1) == columns else visual

    tokens: torch.Tensor = network.generate(
        **inputs,
        max_new_tokens=rows * (columns + 1) + 3,
        prefix_allowed_tokens_fn=allowed,
        do_sample=False,
        guidance_scale=guidance,
        negative_prompt_ids=other.input_ids,
        negative_prompt_attention_mask=other.attention_mask,
    )
    return tokens[:, length:]


@pytest.mark.parametrize(
    ("prompt", "negative", "guidance"), [("a cat", "", 3.0), ("a dog on blue", "a cat", 2.0), ("a cat", "", 1.0)]
)
def test_greedy_pictures_are_those_of_the_library(
    prompt: str, negative: str, guidance: float, engine: Engine, processor: Any, network: Any
) -> None:
    tokens = library_codes(network, processor, prompt, negative, guidance)
    whole = network.decode_image_tokens(image_tokens=tokens, height=ROWS, width=COLUMNS)
    expected = processor.postprocess(list(whole.float()), return_tensors="PIL.Image.Image")["pixel_values"][0]
    [final] = finals(draw(engine, prompt, negative_prompt=negative, temperature=0, guidance=guidance))
    codes = tokens[0, :-3].view(ROWS, COLUMNS + 1)[:, :-1].flatten() - len(tiny_emu3.SPECIAL)
    assert list(final.codes) == codes.tolist()
    assert len(set(final.codes)) > 8, "the tiny network draws more than one code"
    difference = np.abs(final.pixels.astype(int) - np.asarray(expected))  # it decodes four frames: other last bits
    assert difference.max() <= 1 and (difference > 0).mean() < 0.001


@pytest.mark.parametrize(("size", "ratio"), [((64, 48), "4:3"), ((48, 64), "3:4"), ((64, 64), "1:1")])
def test_prompts_are_written_as_the_processor_does(
    size: tuple[int, int], ratio: str, engine: Engine, processor: Any
) -> None:
    for words in ("a cat on blue", "", "Ünïcode\n  dog"):
        expected = to_draw(processor, words, ratio, size[0] * size[1]).input_ids[0].tolist()
        prompt = emu3_of(engine)._writer.draw(words, (size[1] // 8, size[0] // 8), guided=False)
        assert [row.tolist() for row in prompt.rows] == [expected]


def test_fragments_tile_the_canvas_and_are_close_to_the_final(engine: Engine) -> None:
    *fragments, final = draw(engine)
    assert [fragment.kind for fragment in fragments] == [Kind.FRAGMENT] * ROWS
    assert final.kind is Kind.FINAL and final.pixels.shape == (HIGH, WIDE, 3)
    canvas = np.concatenate([fragment.pixels for fragment in fragments])
    assert [(fragment.x, fragment.y) for fragment in fragments] == [(0, 8 * row) for row in range(ROWS)]
    assert [fragment.sequence for fragment in fragments] == list(range(ROWS))
    assert [fragment.step for fragment in fragments] == [COLUMNS * (row + 1) for row in range(ROWS)]
    error = np.abs(canvas.astype(float) - final.pixels).mean()
    mixed = np.abs(canvas[::-1].astype(float) - final.pixels).mean()
    assert error < 0.7 * mixed
    decoder = Emu3Decoder(
        emu3_of(engine)._network.model.vqmodel, (ROWS, COLUMNS), (0.5,) * 3, (0.5,) * 3, band_rows=ROWS
    )
    *early, whole = [decoder.feed(code) for code in final.codes]
    assert early == [None] * 47 and whole is not None
    assert np.array_equal(whole.pixels, decoder.final()), "a band of all rows is the picture"


def test_a_seed_is_a_picture_alone_or_in_a_batch(engine: Engine) -> None:
    batch = finals(draw(engine, count=2))
    assert [(final.index, final.seed) for final in batch] == [(0, 7), (1, 8)] and not same(*batch)
    [alone] = finals(draw(engine, seed=8))
    assert same(batch[1], alone) and batch[1].codes == alone.codes


def test_words_shape_guidance_and_what_to_avoid_matter(engine: Engine) -> None:
    plain, *others = (
        finals(draw(engine, **{"temperature": 0, "guidance": 2.0, **changes}))[0].codes
        for changes in (
            {},
            {"prompt": "a dog"},
            {"guidance": 0.0},
            {"negative_prompt": "dog on blue"},
            {"width": 48, "height": 64},
        )
    )
    assert all(other != plain for other in others)


def test_a_picture_is_shown_again_from_its_codes(engine: Engine) -> None:
    [final] = finals(draw(engine))
    [again] = draw(engine, codes=final.codes)
    assert same(final, again)
    for codes, reason in (((1, 2), "has 48 codes"), ((96,) * 48, "no code 96")):
        with pytest.raises(InvalidParamsError, match=reason):
            draw(engine, codes=codes)


def test_only_the_likeliest_are_chosen_among() -> None:
    logits = torch.tensor([[3.0, 0.0, 2.9, 1.0]])
    chosen = {choose(logits, Sampling(5.0, 1, 2), torch.Generator().manual_seed(seed)) for seed in range(40)}
    assert chosen == {0, 2}
    pair = torch.tensor([[1.0, 0.0, 0.0], [3.0, 0.0, 1.0]])
    assert choose(pair, Sampling(0, 2.0, 9), torch.Generator()) == 1
    assert choose(pair, Sampling(0, 1.0, 9), torch.Generator()) == 0


def test_cancel_stops_before_the_next_code_or_word(engine: Engine) -> None:
    for params in (GenerationParams("a cat", WIDE, HIGH, 7), asking(png(pictures()[0]))):
        cancel, steps = CancelToken(), 0
        with pytest.raises(CanceledError):
            for item in engine.generate(params, cancel):
                steps += isinstance(item, Step)
                if steps == 3:
                    cancel.cancel()
        assert steps == 3


def test_pictures_to_look_at_become_the_librarys_codes(folder: Path, processor: Any, network: Any) -> None:
    reader = Emu3PictureReader(folder, network)
    for picture in (pictures(40)[0], pictures(90)[2][:50], pictures(20)[3][:, :9]):
        inputs = to_ask(processor, picture, "?")
        pixels = reader.read(png(picture), 10_000)
        assert torch.equal(pixels, inputs.pixel_values)
        codes = codes_of(network.model.vqmodel, pixels) + len(tiny_emu3.SPECIAL)
        expected = network.model.get_image_tokens(inputs.pixel_values, inputs.image_sizes)
        assert codes.flatten().tolist() == expected.view(len(codes), -1)[:, :-1].flatten().tolist()
        assert len(set(codes.flatten().tolist())) > 1


@pytest.mark.parametrize("question", ["", "is it a dog"])
def test_it_answers_token_for_token_as_the_library(question: str, engine: Engine, processor: Any, network: Any) -> None:
    said = []
    for picture in (*pictures(40)[:3], pictures(60)[3][:30]):
        inputs = to_ask(processor, picture, question or QUESTION)
        whole = network.generate(**inputs, do_sample=False, max_new_tokens=175)
        expected = whole[0, inputs.input_ids.shape[1] :].tolist()
        *growing, final = answers(engine, png(picture), question)
        drawn("Emu3ForConditionalGeneration")
        assert final.final and final.text == processor.tokenizer.decode(expected, skip_special_tokens=True).strip()
        assert len(growing) == len(expected) - (expected[-1] == 2)
        said.append(final.text)
    assert len(set(said)) >= 3, "the tiny network heeds its picture"


def test_a_picture_that_does_not_fit_is_shown_smaller(folder: Path, engine: Engine, network: Any) -> None:
    reader = Emu3PictureReader(folder, network)
    source = png(pictures(64)[0])
    assert reader.grid_of(reader.read(source, 72)) == (8, 8)
    rows, columns = reader.grid_of(reader.read(source, 40))
    assert 20 < rows * (columns + 1) <= 40
    with pytest.raises(InvalidParamsError, match="100 times longer than wide"):
        answers(engine, png(np.zeros((1, 101, 3), np.uint8)))
    with pytest.raises(InvalidParamsError, match="cannot be read"):
        answers(engine, b"no picture")


def test_a_long_prompt_is_cut_before_what_must_follow(engine: Engine) -> None:
    writer = emu3_of(engine)._writer
    grid = (ROWS, COLUMNS)
    short, long = writer.draw("a", grid, guided=True), writer.draw("dog " * 900, grid, guided=True)
    assert long.truncated and not short.truncated
    assert len(long.rows[0]) + ROWS * (COLUMNS + 1) <= 700
    assert long.rows[0][-5:].tolist() == short.rows[0][-5:].tolist() and long.rows[1].equal(short.rows[1])
    question = writer.ask("dog " * 900, grid)
    assert question.truncated and len(question.rows[0]) + writer.longest_answer <= 700
    assert question.rows[0][-10:].equal(writer.ask("cat", grid).rows[0][-10:]), "the answer's turn still follows"
    params = GenerationParams("dog " * 900, WIDE, HIGH, 7)
    assert next(item for item in engine.generate(params, CancelToken()) if isinstance(item, Note)).kind == (
        "prompt.truncated"
    )


@pytest.mark.parametrize("special", ["<image>", "<|image start|>", "<|visual token 000003|>", "<|extra_204|>"])
def test_nobodys_words_are_taken_for_more(special: str, engine: Engine) -> None:
    writer, grid = emu3_of(engine)._writer, (ROWS, COLUMNS)
    for write in (lambda words: writer.draw(words, grid, guided=False), lambda words: writer.ask(words, grid)):
        assert write(f"a {special} cat").rows[0].equal(write("a   cat").rows[0])


def test_files_tell_what_it_was_trained_for(folder: Path, tmp_path: Path) -> None:
    for name, able in {
        "Emu3-Gen-hf": ("text_to_image",),
        "models--BAAI--Emu3-Chat-hf/snapshots/0123": ("describe",),
        "emu3_chat": ("describe",),
        "generated-chats": ("text_to_image", "describe"),
    }.items():
        facts = inspect_checkpoint(shutil.copytree(folder, tmp_path / name))
        assert facts.capabilities == able
        assert bool(facts.sizes) == ("text_to_image" in able)
    quiet = tiny_emu3.save_emu3(tmp_path / "quiet", chats=False)
    assert inspect_checkpoint(quiet).capabilities == ("text_to_image",)
    told = tmp_path / "Emu3-Gen-hf"
    change(told / "tessera.json", capabilities=["describe"])
    assert inspect_checkpoint(told).capabilities == ("describe",), "the folder's own word goes before"
    named = tmp_path / "generated-chats"
    change(named / "config.json", _name_or_path="BAAI/Emu3-Chat-hf")
    assert inspect_checkpoint(named).capabilities == ("describe",)


def test_who_only_answers_refuses_to_draw(folder: Path, tmp_path: Path) -> None:
    chat = loaded(shutil.copytree(folder, tmp_path / "emu3-chat"), "multimodal")
    assert answers(chat, png(pictures()[0]))[-1].final
    with pytest.raises(InvalidParamsError, match="cannot draw from words alone; it can describe pictures"):
        draw(chat)


def test_native_sizes_are_those_of_the_processor(folder: Path, processor: Any, tmp_path: Path) -> None:
    large = shutil.copytree(folder, tmp_path / "large")
    (large / "tessera.json").unlink()
    config = json.loads((large / "config.json").read_text(encoding="utf-8"))
    config["text_config"]["max_position_embeddings"] = 9216
    change(large / "config.json", **config)
    grids = [processor.calculate_generate_size(f"{wide}:{high}", 518400, 8) for wide, high in SHAPES]
    facts = inspect_checkpoint(large)
    assert facts.sizes == tuple((columns * 8, rows * 8) for rows, columns in grids)
    assert facts.sizes[0] == (720, 720)


def test_guidance_is_taken_from_the_folder(tmp_path: Path) -> None:
    own = tiny_emu3.save_emu3(tmp_path / "own", guidance=5.0)
    assert inspect_checkpoint(own).defaults == {"temperature": 1.0, "guidance": 5.0}


def list_a_size_between(folder: Path) -> None:
    change(folder / "tessera.json", sizes=[[64, 72], [400, 400]])


def leave_no_room(folder: Path) -> None:
    (folder / "tessera.json").unlink()


def claim_to_edit(folder: Path) -> None:
    change(folder / "tessera.json", capabilities=["edit"])


def mix_the_codes(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    words = config["vocabulary_map"]
    first, second = tiny_emu3.VISUAL[:2]
    words[first], words[second] = words[second], words[first]
    change(folder / "config.json", **config)


def name_no_begin(folder: Path) -> None:
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    del settings["boi_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def show_no_picture(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{# no image #}{{ messages[1].content[1].text }}", encoding="utf-8")


def prepare_for_another(folder: Path) -> None:
    settings = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
    settings["image_processor"]["spatial_factor"] = 16
    change(folder / "processor_config.json", **settings)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (list_a_size_between, "cannot draw 400x400"),
        (leave_no_room, "no room for a picture in 700 positions"),
        (claim_to_edit, "lists the capability edit"),
        (mix_the_codes, "codes are not in order"),
        (name_no_begin, "which token means the begin of a picture"),
        (show_no_picture, "no place for a picture"),
        (prepare_for_another, "prepares pictures for another network"),
    ],
)
def test_parts_that_do_not_fit_are_refused(damage: Any, reason: str, folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    damage(other)
    with pytest.raises(CheckpointError, match=reason):
        loaded(other, "multimodal")


@pytest.mark.parametrize(
    "name", ["text_model.model.norm.weight", "vqmodel.decoder.conv_out.weight", "vqmodel.encoder.conv_out.weight"]
)
def test_weights_that_are_no_numbers_are_an_error(name: str, folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    poison(other / "model.safetensors", name)
    with pytest.raises(InvalidNumbersError):
        if "encoder" in name:
            answers(loaded(other, "multimodal"), png(pictures()[0]))
        else:
            draw(loaded(other, "multimodal"))


def test_nothing_is_left_after_unload(folder: Path) -> None:
    engine = loaded(folder, "multimodal")
    draw(engine)
    inner = emu3_of(engine)
    network, device = weakref.ref(inner._network), inner._device
    assert engine.size_bytes() > 0
    engine.unload()
    del inner
    device.purge()
    assert network() is None and engine.size_bytes() == 0
