"""CLIP's words: from the package that the installation brings, from beside the file, and the sentence when nowhere."""

from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from generation.engines import clip_words
from generation.engines.clip_words import find_words, packaged_merges, vocabulary
from generation.engines.errors import CheckpointError
from tests.generation.engines.tiny_words import clip_tokenizer


def test_the_words_are_those_that_every_published_checkpoint_was_trained_with() -> None:
    """The numbers are as published with CLIP."""
    file = packaged_merges()
    assert file is not None, "make installs the package open_clip_torch without what it depends on"
    words, merges = vocabulary(file)
    assert (len(words), len(merges)) == (49408, 48894)
    assert (words["!"], words["<|startoftext|>"], words["<|endoftext|>"]) == (0, 49406, 49407)
    tokenizer = CLIPTokenizer(vocab=words, merges=merges)
    assert tokenizer("A photo of  a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer.decode(tokenizer("naïve 日本!").input_ids[1:-1]) == "naïve 日本 !"


def test_those_beside_the_file_go_first(tmp_path: Path) -> None:
    clip_tokenizer(77).save_pretrained(tmp_path / "tokenizer")
    assert find_words(tmp_path / "mine.safetensors") == tmp_path / "tokenizer"


def test_half_of_a_folder_beside_the_file_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "vocab.json").touch()
    assert find_words(tmp_path / "mine.safetensors") == packaged_merges()


def test_where_none_are_it_is_said_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_words, "PACKAGES", ())
    with pytest.raises(CheckpointError, match="does not hold the words") as caught:
        find_words(tmp_path / "mine.safetensors")
    assert str(tmp_path) in caught.value.hint and "open_clip_torch" in caught.value.hint
