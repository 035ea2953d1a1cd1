"""What operators read of memory beside the ledger: at checkpoints, pictures and requests; and what they may change."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEvent, User
from generation.models import Checkpoint, GenerationRequest, Image, Project
from generation.services.checkpoints import checkpoint_register
from generation.services.devices import commands_take, device_ensure
from generation.services.footprints import footprint_learn
from tests.generation import pictures
from tests.generation.engines.tiny import save_mosaic
from tests.generation.queue import submit
from tests.generation.test_admission import figures

pytestmark = pytest.mark.django_db

Login = Callable[[User], Client]


@pytest.fixture
def mosaic(tmp_path: Path) -> Checkpoint:
    """A real one."""
    return checkpoint_register(path=save_mosaic(tmp_path / "mosaic"), title="Mosaic")


def page(client: Client, checkpoint: Checkpoint) -> str:
    return client.get(reverse("admin:generation_checkpoint_change", args=[checkpoint.pk])).content.decode()


def test_a_checkpoint_tells_what_it_needs_foretold_and_learnt(olga: User, login: Login, mosaic: Checkpoint) -> None:
    client = login(olga)
    html = page(client, mosaic)
    assert "fp32: " in html
    assert " MB for 32x32" in html
    assert "nothing yet" in html
    footprint_learn(checkpoint=mosaic, figures=figures(need=1_234_000_000, memory="single"), width=32, height=32)
    assert "cpu, fp32, single, 32x32: 1.23 GB" in page(client, mosaic)
    device, url = device_ensure(), reverse("admin:generation_checkpoint_changelist")
    client.post(url, {"action": "forget_selected", "_selected_action": str(mosaic.pk)})
    assert "nothing yet" in page(client, mosaic)
    assert AuditEvent.objects.get(verb="checkpoint.forget_memory").actor == olga
    assert commands_take(device=device) == ["restart"], "a room has learnt by itself what it is told no more"


def test_one_without_files_says_so(olga: User, login: Login) -> None:
    assert "not known: its files cannot be read" in page(login(olga), pictures.checkpoint())


def test_a_checkpoint_is_kept_warm_from_its_own_page(olga: User, login: Login, mosaic: Checkpoint) -> None:
    client, url = login(olga), reverse("admin:generation_checkpoint_change", args=[mosaic.pk])
    form = {"title": "Mosaic", "description": "", "precision": "auto", "keep_warm": "on"}
    for _ in range(2):
        assert client.post(url, form).status_code == 302
    mosaic.refresh_from_db()
    assert mosaic.keep_warm
    assert mosaic.spec().keep_warm
    assert AuditEvent.objects.get(verb="checkpoint.keep_warm").detail == "Mosaic: kept warm"
    del form["keep_warm"]
    client.post(url, form)
    assert not Checkpoint.objects.get().keep_warm


def test_lists_tell_how_pictures_were_drawn(olga: User, alice: User, login: Login, project: Project) -> None:
    told = {"precision": "bf16", "memory": "tiled"}
    request = submit(alice, project, pictures.checkpoint(sizes=[[32, 32]]))
    GenerationRequest.objects.update(figures=told)
    image = pictures.image(project=project, request=request, recipe={"prompt": "zebra", **told})
    client = login(olga)
    for model, row in ((Image, image), (GenerationRequest, request)):
        for kind, keys in (("changelist", []), ("change", [row.pk])):
            html = client.get(reverse(f"admin:generation_{model.__name__.lower()}_{kind}", args=keys)).content.decode()
            assert "bf16, sliced and tiled" in html, (model, kind)
            assert "zebra" not in html
    assert "bf16" in login(alice).get(reverse("image_detail", args=[image.pk])).content.decode()
