"""Numbers that follow a setting, so that nobody has to change two."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from django.conf import settings

from generation.engines.manifest import VERSION
from generation.engines.params import PROMPT_LIMIT
from tests.portal import ROOT


def test_pages_and_engines_have_one_limit_of_words() -> None:
    assert settings.PROMPT_MAX_LENGTH == PROMPT_LIMIT


def test_a_signed_picture_names_the_version_that_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == VERSION


@pytest.mark.parametrize(("most", "page"), [("1", 1), ("20", 20), ("500", 500), ("0", 100)])
def test_a_page_that_comes_back_may_resume_all_that_it_has_open(most: str, page: int, tmp_path: Path) -> None:
    code = (
        "import django; django.setup(); from generation.inbound import Budget, COSTS;"
        "budget = Budget(); print(budget.take(0.0, COSTS['snapshot']),"
        f"sum(budget.take(0.0, COSTS['resume']) for _ in range({page})),"
        "budget.left)"
    )
    own = {"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}", "DJANGO_SETTINGS_MODULE": "config.settings"}
    own |= {"TESSERA_DATA": str(tmp_path), "TESSERA_MAX_QUEUED": most}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **own}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", str(page), "30.0"]


@pytest.mark.parametrize(("behind", "said"), [("false", "0 None"), ("true", "1 ('HTTP_X_FORWARDED_PROTO', 'https')")])
def test_headers_of_a_proxy_are_believed_behind_one_alone(behind: str, said: str, tmp_path: Path) -> None:
    code = "from config import settings; print(settings.ALLAUTH_TRUSTED_PROXY_COUNT, settings.SECURE_PROXY_SSL_HEADER)"
    own = {"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}", "TESSERA_DATA": str(tmp_path), "TESSERA_BEHIND_PROXY": behind}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **own}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == said
