"""`manage.py redraw`: from row to the same bytes, in a real engine room, for pictures of codes and of noise."""

import io
import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from generation import scheduler, storage
from generation.engines.client import RoomClient, RoomSettings
from generation.engines.codes import unpack_codes
from generation.models import Image, ImageCodes, Project
from generation.runner.pulse import Pulse
from generation.runner.sitting import Sitting
from generation.services.checkpoints import checkpoint_register
from generation.services.devices import device_ensure
from tests.generation.engines.tiny import save_diffusion, save_janus, save_mosaic
from tests.generation.queue import submit

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

MAKERS = {"mosaic": (save_mosaic, 32, 65), "janus": (save_janus, 16, 64), "diffusion": (save_diffusion, 32, 0)}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tiny checkpoints on disk."""
    folder = tmp_path_factory.mktemp("shelf")
    for name, (save, _, _) in MAKERS.items():
        save(folder / name)
    return folder


@pytest.fixture(scope="module")
def room() -> Iterator[RoomClient]:
    with RoomClient(RoomSettings(device="cpu", threads=1, stall_seconds=120)) as opened:
        yield opened


@pytest.fixture(autouse=True)
def one_thread(settings: Any) -> None:
    settings.DEVICE, settings.THREADS = "cpu", 1


@pytest.fixture
def drawn(room: RoomClient, shelf: Path, alice: User, project: Project) -> Any:
    """drawn(name) gives the second of two pictures that the runner drew with this checkpoint."""

    def draw(name: str) -> Image:
        checkpoint, edge = checkpoint_register(path=shelf / name), MAKERS[name][1]
        submit(alice, project, checkpoint, count=2, width=edge, height=edge)
        request = scheduler.claim_next(device_ensure(), [])
        assert request is not None
        Sitting(room, Pulse()).serve(request)
        request.refresh_from_db()
        assert (request.state, request.error_message) == ("completed", "")
        return Image.objects.get(request=request, index=1)

    return draw


def told(*arguments: str) -> dict[str, Any]:
    out = io.StringIO()
    call_command("redraw", *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", MAKERS)
def test_a_picture_is_drawn_again_to_the_same_bytes(name: str, drawn: Any, tmp_path: Path) -> None:
    image = drawn(name)
    assert told(str(image.pk), "--output", str(tmp_path / "again.png")) == {
        "codes": MAKERS[name][2],
        "same_pixels": True,
        "same_file": True,
    }
    assert (tmp_path / "again.png").read_bytes() == storage.picture_path(image).read_bytes()


def test_codes_are_kept_with_the_picture_and_go_with_it(drawn: Any) -> None:
    image = drawn("mosaic")
    first, second = ImageCodes.objects.order_by("image__index")
    assert second.image == image and first.packed != second.packed
    assert len(unpack_codes(second.packed)) == 65
    image.delete()
    assert ImageCodes.objects.get() == first


def test_a_file_that_is_gone_comes_back(drawn: Any, tmp_path: Path) -> None:
    image = drawn("mosaic")
    kept = storage.picture_path(image).read_bytes()
    shutil.rmtree(storage.picture_path(image).parent)
    assert told(str(image.pk), "--output", str(tmp_path / "a.png"))["same_file"]
    assert (tmp_path / "a.png").read_bytes() == kept


def test_another_picture_is_told_as_such(drawn: Any) -> None:
    image = drawn("mosaic")
    other = ImageCodes.objects.exclude(image=image).get()
    ImageCodes.objects.filter(image=image).update(packed=other.packed)
    out = io.StringIO()
    with pytest.raises(CommandError, match="not the picture that was kept") as failure:
        call_command("redraw", str(image.pk), stdout=out)
    assert failure.value.returncode == 3
    assert "the pixels differ" in out.getvalue()


def test_what_cannot_be_drawn_again_says_why(drawn: Any, alice: User, project: Project) -> None:
    image = drawn("mosaic")
    ImageCodes.objects.filter(image=image).update(packed="?")
    with pytest.raises(CommandError, match="damaged"):
        call_command("redraw", str(image.pk))
    ImageCodes.objects.all().delete()
    Image.objects.filter(pk=image.pk).update(request=None)
    with pytest.raises(CommandError, match="Nobody knows"):
        call_command("redraw", str(image.pk))
    for unknown in ("nonsense", str(uuid.uuid4())):
        with pytest.raises(CommandError, match="no picture") as failure:
            call_command("redraw", unknown)
        assert failure.value.returncode == 2
