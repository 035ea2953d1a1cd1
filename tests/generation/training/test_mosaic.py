"""The mosaic and its codebook: encode and decode are exact, nonsense is refused."""

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from generation.engines.mosaic import Mosaic, MosaicError
from generation.training.multimodal.codebook import Codebook
from generation.training.world import NOUNS, Scene, World


@pytest.fixture(scope="module")
def codebook(tiny_world: World) -> Codebook:
    return Codebook.build(tiny_world)


def test_decode_of_encode_is_the_true_picture(codebook: Codebook) -> None:
    rng = Random(5)  # noqa: S311
    for _ in range(40):
        scene = codebook.world.sample(rng)
        assert np.array_equal(codebook.mosaic.decode(codebook.encode(scene)), codebook.world.compose(scene))


def test_saved_and_loaded_it_decodes_the_same(codebook: Codebook, tmp_path: Path) -> None:
    codes = codebook.encode(codebook.world.sample(Random(6)))  # noqa: S311
    codebook.mosaic.save(tmp_path)
    loaded = Mosaic.load(tmp_path)
    assert (loaded.tokens, loaded.size, loaded.codes) == (65, (128, 128), codebook.mosaic.codes)
    assert np.array_equal(loaded.decode(codes), codebook.mosaic.decode(codes))


def test_partial_pictures_grow_into_the_whole(codebook: Codebook) -> None:
    mosaic = codebook.mosaic
    codes = codebook.encode(Scene(codebook.world.names[0], "red"))
    whole = mosaic.decode(codes)
    assert (mosaic.rows(codes[:1]) == mosaic.grounds[codes[0]]).all()
    part = mosaic.rows(codes[: 1 + 8 * 4 + 3])
    assert np.array_equal(part[:64], whole[:64])
    assert np.array_equal(part[64:80, :48], whole[64:80, :48])
    assert (part[80:] == mosaic.grounds[codes[0]]).all()
    row, column = 3, 4
    tile = mosaic.tile(int(codes[1 + row * 8 + column]), int(codes[0]))
    assert np.array_equal(tile, whole[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16])


def test_codes_out_of_place_are_refused(codebook: Codebook) -> None:
    mosaic = codebook.mosaic
    assert mosaic.allowed(0) == slice(0, 12)
    assert mosaic.allowed(64) == slice(12, mosaic.codes)
    for wrong in ([mosaic.empty] * 65, [0] * 65, [0] + [mosaic.codes] * 64, [-1] + [mosaic.empty] * 64, [0]):
        with pytest.raises(MosaicError):
            mosaic.decode(wrong)
    with pytest.raises(MosaicError):
        mosaic.rows([])
    with pytest.raises(MosaicError):
        mosaic.allowed(65)


def test_a_folder_that_does_not_fit_together_is_refused(codebook: Codebook, tmp_path: Path) -> None:
    codebook.mosaic.save(tmp_path)
    layout = json.loads((tmp_path / "mosaic.json").read_text())
    (tmp_path / "mosaic.json").write_text(json.dumps({**layout, "version": 3}))
    with pytest.raises(MosaicError, match="version"):
        Mosaic.load(tmp_path)
    (tmp_path / "mosaic.json").write_text(json.dumps({**layout, "grounds": ["white"]}))
    with pytest.raises(MosaicError, match="layout"):
        Mosaic.load(tmp_path)
    codebook.mosaic.save(tmp_path)
    tables = load_file(tmp_path / "mosaic.safetensors")
    save_file({**tables, "colours": tables["colours"][1:].copy()}, tmp_path / "mosaic.safetensors")
    with pytest.raises(MosaicError, match="layout"):
        Mosaic.load(tmp_path)


def test_only_colours_that_can_be_seen_are_kept(codebook: Codebook, tmp_path: Path) -> None:
    codebook.mosaic.save(tmp_path)
    again = Mosaic.load(tmp_path)
    assert np.array_equal(again.tiles, codebook.mosaic.tiles)
    assert len(load_file(tmp_path / "mosaic.safetensors")["colours"]) == (codebook.mosaic.tiles[..., 3] > 0).sum()


def test_appending_a_noun_leaves_the_codes_before_it(tiny_world: World) -> None:
    fewer = World(NOUNS[:4], {size: icons[:4] for size, icons in tiny_world.icons.items()})
    before, after = Codebook.build(fewer), Codebook.build(tiny_world)
    assert np.array_equal(before.grids["small"], after.grids["small"][:4])
    assert np.array_equal(before.mosaic.tiles, after.mosaic.tiles[: len(before.mosaic.tiles)])


def test_the_mosaic_needs_neither_torch_nor_django() -> None:
    check = "import sys, generation.engines.mosaic; sys.exit('torch' in sys.modules or 'django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
