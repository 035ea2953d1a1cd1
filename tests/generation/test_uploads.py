"""Pictures handed in: what is taken, what is refused and with which words, and who may see them."""

import io
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError
from django.test import Client
from PIL import Image as Picture
from PIL.PngImagePlugin import PngInfo

from accounts.models import User
from core.errors import TesseraError
from generation import storage
from generation.models import Upload
from generation.services.images import orphans_sweep
from generation.services.uploads import KEPT_EDGE, UploadRefusedError, upload_store
from tests.portal import ROOT

URL = "/uploads/new/"
Login = Callable[[User], Client]


def encoded(picture: Picture.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def plain(width: int = 40, height: int = 20, colour: object = "red", mode: str = "RGB") -> Picture.Image:
    return Picture.new(mode, (width, height), colour)


def store(user: User, data: bytes) -> Upload:
    return upload_store(user=user, file=io.BytesIO(data), size=len(data))


def kept(upload: Upload) -> Picture.Image:
    with Picture.open(storage.path(upload.file)) as picture:
        picture.load()
        return picture


def refusal(user: User, data: bytes) -> TesseraError:
    with pytest.raises(TesseraError) as caught:
        store(user, data)
    assert Upload.objects.count() == 0
    return caught.value


def huge_png(width: int, height: int) -> bytes:
    """A PNG whose header promises much more than its bytes hold."""
    small = bytearray(encoded(plain(1, 1), "PNG"))
    small[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    small[29:33] = zlib.crc32(small[12:29]).to_bytes(4, "big")
    return bytes(small)


def huge_webp(width: int, height: int) -> bytes:
    body = b"VP8X" + (10).to_bytes(4, "little") + bytes(4)
    body += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_pictures_are_kept_as_png(alice: User, kind: str) -> None:
    upload = store(alice, encoded(plain(), kind))
    picture = kept(upload)
    assert picture.format == "PNG"
    assert (upload.width, upload.height) == picture.size == (40, 20)
    assert upload.owner == alice


def test_metadata_is_stripped_and_orientation_applied(alice: User) -> None:
    exif = Picture.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    exif[0x010E] = "a secret"
    picture = kept(store(alice, encoded(plain(), "JPEG", exif=exif, comment=b"a secret")))
    assert picture.size == (20, 40)
    assert not picture.info
    assert not picture.getexif()


def test_a_photo_whose_exif_is_rubbish_is_a_photo(alice: User) -> None:
    exif = Picture.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a rational in text"
    data = bytearray(exif.tobytes())
    at = data.index(b"\x01\x0e\x00\x02") if b"\x01\x0e\x00\x02" in data else data.index(b"\x0e\x01\x02\x00")
    # The description claims to be the resolution (a rational) and stays text: exif_transpose fell over it.
    data[at : at + 2] = bytes(data[at : at + 2]).replace(b"\x0e", b"\x1a")
    picture = kept(store(alice, encoded(plain(), "JPEG", exif=bytes(data))))
    assert picture.size == (20, 40)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
def test_exif_that_cannot_be_read_turns_nothing(alice: User) -> None:
    assert kept(store(alice, encoded(plain(), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff"))).size == (40, 20)


def test_a_phones_jpeg_with_two_pictures_inside(alice: User) -> None:
    data = encoded(plain(), "MPO", save_all=True, append_images=[plain(colour="blue")])
    with Picture.open(io.BytesIO(data)) as opened:
        assert (opened.format, opened.n_frames) == ("MPO", 2)
    assert kept(store(alice, data)).getpixel((3, 3))[0] > 200


def test_a_photo_that_mentions_svg_is_a_photo(alice: User) -> None:
    assert store(alice, encoded(plain(), "JPEG", comment=b"made from <svg> by hand")).width == 40


MEASURE = """
import io, resource, sys, threading
import django; django.setup()
from PIL import Image as Picture
from generation.services import uploads
data = open(sys.argv[1], "rb").read()
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
uploads._decode(io.BytesIO(uploads._encode(Picture.new("RGB", (8, 8))).png))
before = peak()
threads = [threading.Thread(target=uploads._decode, args=(io.BytesIO(data),)) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(peak() - before)
"""


@pytest.mark.processes
@pytest.mark.parametrize(
    ("kind", "mode", "most"), [("JPEG", "RGB", 60), ("PNG", "RGB", 220), ("PNG", "I;16", 150), ("PNG", "RGBA", 350)]
)
def test_forty_megapixels_cost_one_copy_however_many_hand_them_in(
    tmp_path: Path, kind: str, mode: str, most: int
) -> None:
    file = tmp_path / "large"
    file.write_bytes(encoded(Picture.new(mode, (8000, 5000)), kind))
    path = os.pathsep.join([str(ROOT), str(ROOT / "platform")])
    own = {"PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "config.settings", "TESSERA_DATA": str(tmp_path)}
    command = [sys.executable, "-c", MEASURE, str(file)]
    done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < most


def test_a_row_that_cannot_be_written_leaves_no_file(alice: User, stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(**values: object) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(Upload.objects, "create", locked)
    with pytest.raises(OperationalError):
        store(alice, encoded(plain(), "PNG"))
    assert [path for path in (stage / "media").rglob("*") if path.is_file()] == []


def test_files_without_a_row_are_swept(alice: User, stage: Path) -> None:
    known, orphan = store(alice, encoded(plain(), "PNG")), store(alice, encoded(plain(), "PNG"))
    fresh = store(alice, encoded(plain(), "PNG"))
    part = storage.path(orphan.file).with_name(".half.png.123")
    part.write_bytes(b"x")
    Upload.objects.exclude(pk=known.pk).delete()
    for path in (storage.path(known.file), storage.path(orphan.file), part):
        os.utime(path, (0, 0))
    assert orphans_sweep() == 2
    there = [storage.path(upload.file).exists() for upload in (known, orphan, fresh)]
    assert there == [True, False, True]
    assert not part.exists()


def test_the_command_takes_no_larger_picture_than_the_page(alice: User, tmp_path: Path, settings: Any) -> None:
    settings.UPLOAD_MAX_BYTES = 2 * 1024 * 1024
    file = tmp_path / "cat.png"
    file.write_bytes(bytes(3 * 1024 * 1024))
    with pytest.raises(CommandError, match="it has 3 MB and 2 MB is the most"):
        call_command("generate", "a cat", "--image", str(file), "--output", str(tmp_path / "out.png"))
    with pytest.raises(UploadRefusedError, match="3 MB; 2 MB is the most"):
        store(alice, file.read_bytes())


def test_text_in_a_png_is_stripped(alice: User) -> None:
    info = PngInfo()
    info.add_text("prompt", "a secret")
    upload = store(alice, encoded(plain(), "PNG", pnginfo=info))
    assert b"a secret" not in storage.path(upload.file).read_bytes()


def test_transparent_becomes_white(alice: User) -> None:
    picture = kept(store(alice, encoded(plain(colour=(255, 0, 0, 0), mode="RGBA"), "PNG")))
    assert picture.getpixel((3, 3)) == (255, 255, 255)


def test_sixteen_bits_are_scaled(alice: User) -> None:
    grey = Picture.new("I;16", (8, 8), 32768)
    assert kept(store(alice, encoded(grey, "PNG"))).getpixel((2, 2)) == (128, 128, 128)


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK"])
def test_other_modes(alice: User, mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert kept(store(alice, encoded(plain().convert(mode), kind))).mode == "RGB"


def test_large_ones_are_made_smaller(alice: User) -> None:
    upload = store(alice, encoded(plain(KEPT_EDGE * 2, 100), "PNG"))
    assert (upload.width, upload.height) == (KEPT_EDGE, 50)


SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
FRAMES = [plain(colour="blue"), plain(colour="green")]


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"", "upload_empty", "empty"),
        (b"hello, I am no picture at all", "upload_format", "no picture"),
        (b"%PDF-1.7 ...", "upload_format", "no picture"),
        (SVG, "upload_format", "SVG"),
        (encoded(plain(), "GIF"), "upload_format", "GIF"),
        (encoded(plain(), "GIF", save_all=True, append_images=FRAMES), "upload_format", "GIF"),
        (encoded(plain(), "BMP"), "upload_format", "no picture"),
        (encoded(plain(), "TIFF"), "upload_format", "no picture"),
        (encoded(plain(), "PNG", save_all=True, append_images=FRAMES), "upload_animated", "animated"),
        (encoded(plain(), "WEBP", save_all=True, append_images=FRAMES), "upload_animated", "animated"),
        (encoded(Picture.effect_noise((99, 99), 90), "PNG")[:-900], "upload_broken", "cut short"),
        (encoded(Picture.effect_noise((99, 99), 90), "JPEG")[:-900], "upload_broken", "cut short"),
        (encoded(Picture.effect_noise((99, 99), 90), "WEBP")[:-900], "upload_broken", "cut short"),
        (b"\x89PNG\r\n\x1a\n", "upload_broken", "damaged"),
        (b"\xff\xd8\xff\xe0 nonsense", "upload_broken", "damaged"),
        (b"RIFF\x00\x00\x00\x00WEBPnonsense", "upload_broken", "damaged"),
        (huge_png(8000, 6000), "upload_too_large", "megapixels"),
        (huge_png(60000, 60000), "upload_too_large", "megapixels"),
        (huge_webp(8000, 6000), "upload_too_large", "megapixels"),
    ],
)
def test_refusals(alice: User, data: bytes, code: str, words: str) -> None:
    error = refusal(alice, data)
    assert error.code == code
    assert words in str(error)
    assert error.hint


def test_too_many_bytes(alice: User, settings: object) -> None:
    settings.UPLOAD_MAX_BYTES = 1024 * 1024  # type: ignore[attr-defined]
    error = refusal(alice, b"\x89PNG\r\n\x1a\n" + bytes(2 * 1024 * 1024))
    assert (error.code, error.status) == ("upload_too_large", 413)
    assert "1 MB is the most" in str(error)


def test_the_page_takes_a_picture(alice: User, login: Login) -> None:
    file = SimpleUploadedFile("cat.png", encoded(plain(), "PNG"))
    answer = login(alice).post(URL, {"source_file": file}, headers={"hx-request": "true"})
    upload = Upload.objects.get()
    assert answer.status_code == 201
    assert f'name="source_upload" value="{upload.pk}"' in answer.content.decode()


def test_a_refusal_keeps_the_picture_chosen_before(alice: User, login: Login) -> None:
    before = store(alice, encoded(plain(), "PNG"))
    file = SimpleUploadedFile("cat.svg", SVG)
    answer = login(alice).post(URL, {"source_file": file, "source_upload": before.pk})
    assert answer.status_code == 422
    assert "SVG" in answer.content.decode()
    assert str(before.pk) in answer.content.decode()


def test_too_long_a_body_is_refused_unread(alice: User, login: Login, settings: object) -> None:
    settings.UPLOAD_MAX_BYTES = 1024 * 1024  # type: ignore[attr-defined]
    file = SimpleUploadedFile("big.png", bytes(2 * 1024 * 1024))
    answer = login(alice).post(URL, {"source_file": file})
    assert answer.status_code == 413
    assert "1 MB is the most" in answer.content.decode()
    assert not hasattr(answer.wsgi_request, "_files")


def test_the_csrf_token_is_asked_for(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice, backend="allauth.account.auth_backends.AuthenticationBackend")
    answer = client.post(URL, {"source_file": SimpleUploadedFile("cat.png", encoded(plain(), "PNG"))})
    assert answer.status_code == 403
    assert Upload.objects.count() == 0


def test_no_file(alice: User, login: Login) -> None:
    assert login(alice).post(URL).status_code == 422


def test_only_its_owner_sees_it(alice: User, bob: User, olga: User, login: Login, client: Client) -> None:
    url = f"/uploads/{store(alice, encoded(plain(), 'PNG')).pk}/picture/"
    mine = login(alice).get(url)
    assert (mine.status_code, mine.headers["Content-Type"]) == (200, "image/png")
    assert "private" in mine.headers["Cache-Control"]
    assert login(bob).get(url).status_code == 404
    assert login(olga).get(url).status_code == 404
    assert client.get(url).status_code == 302
