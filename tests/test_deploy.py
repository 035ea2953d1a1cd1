"""What platform/deploy offers to copy is accepted by the programs that it is for, and names only what there is."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests import servers
from tests.portal import ROOT

DEPLOY = ROOT / "platform" / "deploy"
SETTING = re.compile(r"TESSERA_[A-Z0-9_]+")
UNITS = ("tessera-web@8001.service", "tessera-cluster@gpu1.service")
FOLDERS = {"accounts", "generation", "platform", "templates"}
COMMIT = {".git/HEAD", ".git/packed-refs", ".git/refs"}  # which version it is, and nothing of its history


def known() -> set[str]:
    """Settings that the documentation explains."""
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    return set(re.findall(r"`(TESSERA_[A-Z0-9_]+)`", pages))


@pytest.mark.parametrize("name", sorted(path.name for path in DEPLOY.iterdir() if path.is_file()))
def test_every_setting_is_explained(name: str) -> None:
    text = (DEPLOY / name).read_text(encoding="utf-8")
    assert {one for one in SETTING.findall(text) if not one.endswith("_")} <= known()


def test_nginx_takes_the_example(tmp_path: Path) -> None:
    whole = tmp_path / "nginx.conf"
    example = f'access_log off; include "{DEPLOY}/nginx.conf";'
    whole.write_text(f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ {example} }}", encoding="utf-8")
    command = [servers.needed("nginx"), "-t", "-q", "-p", str(tmp_path), "-c", str(whole)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "emerg" in done.stderr) == (0, False), done.stderr


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_takes_the_units(unit: str, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("not run: no systemd-analyze is here")
    kind = unit.partition("@")[0]
    text = (DEPLOY / f"{kind}@.service").read_text(encoding="utf-8")
    here = text.replace("/opt/tessera/.venv/bin/python", "/bin/true").replace("/opt/tessera", str(tmp_path))
    (tmp_path / unit).write_text(re.sub("(User|Group)=.*\n", "", here), encoding="utf-8")
    command = [program, "verify", str(tmp_path / unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    mine = [line for line in done.stderr.splitlines() if unit in line]
    assert mine == []
    assert "Restart=always" in text, "a killed sentinel ends the cluster with 0"


def test_the_commands_of_the_units_are_there() -> None:
    for path in [*DEPLOY.glob("*.service"), DEPLOY / "compose.yaml", DEPLOY / "Dockerfile"]:
        for command in re.findall(r'manage\.py"?,? "?([a-z_]+)', path.read_text(encoding="utf-8")):
            assert (ROOT / "generation" / "management" / "commands" / f"{command}.py").exists(), command


def test_the_compose_file_holds_together() -> None:
    found = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    services, volumes = found["services"], set(found["volumes"])
    assert {"postgres", "redis", "prepare", "web", "cluster"} <= services.keys()
    for service in services.values():
        assert set(service.get("depends_on", {})) <= services.keys()
        assert {one.partition(":")[0] for one in service.get("volumes", ())} <= volumes
    assert services["web"]["environment"]["TESSERA_DATABASE_URL"].startswith("postgresql://")
    assert services["cluster"]["environment"].keys() > services["web"]["environment"].keys()
    assert (DEPLOY / services["web"]["build"]["context"]).resolve() == ROOT
    for name in ("prepare", "web", "cluster"):
        assert services[name]["volumes"] == ["data:/data"], "one folder: a restore renames in it, and locks are in it"
        assert {"TESSERA_HTTPS", "TESSERA_TRUSTED_ORIGINS", "TESSERA_BEHIND_PROXY"} <= services[name][
            "environment"
        ].keys()
    assert "-h 127.0.0.1" in services["postgres"]["healthcheck"]["test"][1]


def test_the_second_device_of_the_compose_file_is_one() -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    found = yaml.safe_load(re.sub(r"(?m)^  # (?=cluster-2|  )", "  ", text))["services"]
    first, second = found["cluster"], found["cluster-2"]
    own = {"TESSERA_DEVICE_NAME": "device-2"}
    assert second == {**first, "hostname": "cluster-2", "environment": {**first["environment"], **own}}


def test_the_image_takes_what_runs_and_no_data() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    taken = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert rules[0] == "*", "nothing but what is named"
    assert taken == {"manage.py", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", *FOLDERS, *COMMIT}
    assert not {"data", ".venv", ".git", "tests"} & taken
    assert rules.index("platform/deploy") > rules.index("!platform"), "where .env may lie"
    assert (DEPLOY / "Dockerfile.dockerignore").name == f"{(DEPLOY / 'Dockerfile').name}.dockerignore"
    assert all((ROOT / name).exists() for name in taken - COMMIT)
