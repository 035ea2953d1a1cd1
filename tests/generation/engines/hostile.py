"""Checkpoint folders as somebody who means harm would build them, each from a copy of a sound one.

Whatever of this is ever executed makes the file that CANARY names.
"""

import json
import os
import pickle
import shutil
import socket
import struct
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.generation.engines.drawing import change

CANARY = "canary"  # made in the folder that holds the hostile ones
UNET = "unet/diffusion_pytorch_model.safetensors"
INDEX = "unet/diffusion_pytorch_model.safetensors.index.json"
MEGABYTE = 1024 * 1024

Harm = Callable[[Path], object]


class Bomb:
    """Pickled, it makes the canary file when it is read."""

    def __init__(self, folder: Path) -> None:
        self.canary = folder.parent / CANARY

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.canary}'",)


def code(folder: Path) -> str:
    """Python that makes the canary file."""
    return f"open({str(folder.parent / CANARY)!r}, 'w').close()\n"


def header(content: dict[str, Any] | bytes, *, length: int | None = None, tensors: int = 0) -> bytes:
    """A safetensors file with this header."""
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(tensors)


def tensor(start: int, stop: int, *, dtype: str = "U8", shape: list[int] | None = None) -> dict[str, Any]:
    """An entry of a header."""
    return {"dtype": dtype, "shape": [stop - start] if shape is None else shape, "data_offsets": [start, stop]}


def writes(name: str, data: bytes | str) -> Harm:
    """That file with those bytes."""

    def harm(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())

    return harm


def says(name: str, **values: Any) -> Harm:
    """That settings file with those values."""
    return lambda folder: change(folder / name, **values)


def sparse(name: str, start: bytes, size: int) -> Harm:
    """A file that claims to be large and takes no room."""

    def harm(folder: Path) -> None:
        writes(name, start)(folder)
        os.truncate(folder / name, size)

    return harm


def many_tensors(count: int) -> bytes:
    """A header that is all entries, as short as they can be."""
    entries = b",".join(b'"%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % number for number in range(count))
    return header(b"{" + entries + b"}")


def with_code(name: str) -> Harm:
    """A file of program code."""
    return lambda folder: (folder / name).write_text(code(folder), encoding="utf-8")


def with_pickle(name: str, *, instead: bool = True) -> Harm:
    """A pickle under that name, in place of the weights or beside them."""

    def harm(folder: Path) -> None:
        if instead:
            (folder / UNET).unlink()
        (folder / name).write_bytes(pickle.dumps({"weight": Bomb(folder)}, protocol=4))

    return harm


def with_archive(name: str) -> Harm:
    """As torch saves pickles."""

    def harm(folder: Path) -> None:
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Bomb(folder)))

    return harm


def with_zip_bomb(folder: Path) -> None:
    """100 MB of spaces in 100 KB, where a tokenizer would be."""
    (folder / "tokenizer/tokenizer.json").unlink()
    with zipfile.ZipFile(folder / "tokenizer/tokenizer.json", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tokenizer.json", b" " * 100 * MEGABYTE)


def truncated(folder: Path) -> None:
    """Half of the weights."""
    os.truncate(folder / UNET, (folder / UNET).stat().st_size // 2)


def moved_out(folder: Path) -> None:
    """A link to weights elsewhere."""
    outside = folder.parent / f"{folder.name}.safetensors"
    shutil.move(folder / UNET, outside)
    (folder / UNET).symlink_to(outside)


def with_code_of_a_component(folder: Path) -> None:
    """A part whose class is its own, with the code named by the index only."""
    change(folder / "model_index.json", unet=["my_unet", "MyUNet"])


def with_socket(folder: Path) -> None:
    """The name is relative, because those of sockets are short."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        with closing(socket.socket(socket.AF_UNIX)) as listener:
            listener.bind("wait.safetensors")
    finally:
        os.chdir(before)


def with_many_files(folder: Path) -> None:
    """More than any checkpoint has."""
    (folder / "many").mkdir()
    for number in range(2001):
        (folder / "many" / f"{number}.txt").touch()


ESCAPE = "{{ ''.__class__.__mro__[1].__subclasses__() }}"

# name, part of the reason, how it is made
HOSTILE: list[tuple[str, str, Harm]] = [
    ("pickle", "is a pickle", with_pickle("unet/diffusion_pytorch_model.bin")),
    ("pickle beside good weights", "is a pickle", with_pickle("unet/pytorch_model.PT", instead=False)),
    ("pickle named safetensors", "is a pickle.*whatever its name", with_pickle(UNET)),
    ("archive named safetensors", "zip archive.*whatever its name", with_archive(UNET)),
    ("archive of any name", "zip archive.*whatever its name", with_archive("unet/weights.dat")),
    ("zip bomb as tokenizer", "zip archive", with_zip_bomb),
    ("remote code", "is program code", with_code("unet/modeling_mine.py")),
    ("compiled code", "is program code", with_code("unet/kernel.so")),
    ("auto_map of a part", r"asks for code from elsewhere \(auto_map", says("unet/config.json", auto_map={"A": "m.A"})),
    ("auto_map of a tokenizer", "auto_map", says("tokenizer/tokenizer_config.json", auto_map={"AutoTokenizer": "t.T"})),
    ("trust_remote_code", "trust_remote_code", says("text_encoder/config.json", trust_remote_code=True)),
    ("custom pipeline", "class of its own", says("model_index.json", _class_name=["pipeline", "MinePipeline"])),
    ("custom part class", "class of its own", says("unet/config.json", _class_name=["model", "Mine"])),
    ("custom component", "comes from 'my_unet'", with_code_of_a_component),
    ("third library", "comes from 'os'", says("model_index.json", vae=["os", "system"])),
    ("unknown pipeline", "which Tessera cannot draw with", says("model_index.json", _class_name="MinePipeline")),
    ("part outside", "leads elsewhere", says("model_index.json", **{"../elsewhere": ["diffusers", "UNet2DModel"]})),
    ("index leads out", "no file beside it", writes(INDEX, '{"weight_map": {"a": "../../x.safetensors"}}')),
    ("index names a root", "no file beside it", writes(INDEX, '{"weight_map": {"a": "/etc/x.safetensors"}}')),
    ("index names a pickle", "no file beside it", writes(INDEX, '{"weight_map": {"a": "model.bin"}}')),
    (
        "tokenizer file outside",
        "not in its folder",
        says("tokenizer/tokenizer_config.json", vocab_file="../../../etc/passwd"),
    ),
    (
        "tokenizer version outside",
        "not in its folder",
        says("tokenizer/tokenizer_config.json", fast_tokenizer_files=["/tokenizer.4.0.json"]),
    ),
    (
        "attention from the hub (CVE-2026-4372)",
        "compiled code from elsewhere",
        says("text_encoder/config.json", _attn_implementation_internal="evil/kernel"),
    ),
    (
        "attention of a repository",
        "compiled code from elsewhere",
        says("text_encoder/config.json", text_config={"attn_implementation": "evil/kernel@main:run"}),
    ),
    ("kernels", "compiled code from elsewhere", says("text_encoder/config.json", kernel_config={"RMSNorm": "evil/k"})),
    ("quantised", "quantised", says("unet/config.json", quantization_config={"quant_method": "evil"})),
    ("another base", "another checkpoint", writes("unet/adapter_config.json", '{"base_model_name_or_path": "/etc"}')),
    ("template that escapes", "reaches for __class__", writes("tokenizer/chat_template.jinja", ESCAPE)),
    ("template in settings", "reaches for __class__", says("tokenizer/tokenizer_config.json", chat_template=ESCAPE)),
    ("long template", "more than 1 MB", writes("tokenizer/chat_template.jinja", b" " * 2 * MEGABYTE)),
    ("truncated", "are damaged: its tensors need", truncated),
    ("empty weights", "longer than the file", writes(UNET, b"")),
    ("header of 2^63", "longer than the file", writes(UNET, header(b"{}", length=2**63 - 1))),
    ("header of 100 MB", "16,777,216 is the most", sparse(UNET, header(b"{", length=100_000_000), 200_000_000)),
    ("nested header", "nested too deeply", writes(UNET, header(b'{"a":' * 400_000))),
    ("header of brackets", "more than 1,000,000 values", writes(UNET, header(b"[" + b"[]," * 5_000_000 + b"0]"))),
    ("200,000 tensors", "values|200,000 tensors", writes(UNET, many_tensors(200_000))),
    ("overlapping tensors", "overlap", writes(UNET, header({"a": tensor(0, 4), "b": tensor(2, 6)}, tensors=6))),
    ("gap between tensors", "leave a gap", writes(UNET, header({"a": tensor(0, 4), "b": tensor(6, 8)}, tensors=8))),
    ("negative offsets", "needs 0 bytes", writes(UNET, header({"a": tensor(4, 0, shape=[0])}))),
    ("shape of another size", "needs 32 bytes by its shape", writes(UNET, header({"a": tensor(0, 4, shape=[32])}))),
    (
        "shape beyond all numbers",
        "the shape of 'a' is none",
        writes(UNET, header({"a": tensor(0, 4, shape=[2**62, 2**62])}, tensors=4)),
    ),
    ("unknown type", "unknown type 'X9'", writes(UNET, header({"a": tensor(0, 4, dtype="X9")}, tensors=4))),
    (
        "two tensors of one name",
        "stands twice",
        writes(UNET, header(b'{"a":%s,"a":%s}' % ((json.dumps(tensor(0, 4)).encode(),) * 2), tensors=4)),
    ),
    ("link out", "leads out of the folder", moved_out),
    ("circle of links", "leads out of the folder", lambda f: (f / "unet/circle.json").symlink_to("circle.json")),
    ("circle of folders", "link to a folder", lambda folder: (folder / "unet/again").symlink_to("..")),
    ("pipe", "no ordinary file", lambda folder: os.mkfifo(folder / "unet/extra.safetensors")),
    (
        "pipe as settings",
        "no ordinary file",
        lambda f: ((f / "vae/config.json").unlink(), os.mkfifo(f / "vae/config.json")),
    ),
    ("socket", "no ordinary file", with_socket),
    ("endless device", "leads out of the folder", lambda f: (f / "unet/zero.json").symlink_to("/dev/zero")),
    ("forged line", "characters that no name needs", writes("unet/a\n0000  b.json", "{}")),
    ("huge settings", "too long for its kind", sparse("unet/config.json", b"{", 2**40)),
    (
        "settings of brackets",
        "more than 1,000,000 values",
        writes("unet/config.json", b"[" + b"[]," * 2_000_000 + b"0]"),
    ),
    ("nested settings", "nested too deeply", writes("unet/config.json", b'{"a":' * 400_000)),
    (
        "number of a million digits",
        "cannot be read as JSON",
        writes("unet/config.json", b'{"a":' + b"9" * 10**6 + b"}"),
    ),
    ("huge vocabulary", "too long for its kind", sparse("tokenizer/tokenizer.json", b"{", 2**40)),
    ("many files", "more than 2,000 files", with_many_files),
]
