"""What a signed picture says, as the library's own reader tells it; and certificates for tests."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from generation.engines.certificates import Certificates, development_certificate, soon
from generation.engines.signing import SETTINGS

TRUSTED, VALID, INVALID = "Trusted", "Valid", "Invalid"


@dataclass(frozen=True, slots=True)
class Told:
    """The reader's verdict and the newest manifest, with the others by their labels."""

    state: str
    active: dict[str, Any]
    manifests: dict[str, Any]

    @property
    def actions(self) -> list[dict[str, Any]]:
        """What was done, in order."""
        return self.active["assertion_store"]["c2pa.actions.v2"]["actions"]

    @property
    def recipe(self) -> dict[str, Any] | None:
        """The recipe in the newest manifest."""
        return self.active["assertion_store"].get("tessera.recipe")

    @property
    def parent(self) -> dict[str, Any] | None:
        """The ingredient, if one is named."""
        return self.active["assertion_store"].get("c2pa.ingredient.v3")

    @property
    def parent_manifest(self) -> dict[str, Any] | None:
        """What the parent said of itself."""
        label = ((self.parent or {}).get("activeManifest") or {}).get("url", "")
        return self.manifests.get(label.rsplit("/", 1)[-1])

    @property
    def words(self) -> str:
        """Everything that is said, to look for what must not be."""
        return json.dumps(self.manifests, ensure_ascii=False)


def told(data: bytes, *, anchor: bytes = b"") -> Told:
    """Read as a stranger would; trusting nobody but `anchor`. Raises c2pa.C2paError where nothing is signed."""
    import c2pa

    trust = {"trust": {"trust_anchors": anchor.decode()}} if anchor else {}
    with (
        c2pa.Context.from_dict({**SETTINGS, **trust}) as context,
        c2pa.Reader("image/png", BytesIO(data), context=context) as reader,
    ):
        found = json.loads(reader.detailed_json())
        return Told(
            str(reader.get_validation_state()), found["manifests"][found["active_manifest"]], found["manifests"]
        )


def data_hash(manifest: dict[str, Any]) -> str:
    """Of the bytes that a manifest is about."""
    return manifest["assertion_store"]["c2pa.hash.data"]["hash"]


def certificates(days: int = 365, *, now: datetime | None = None) -> Certificates:
    """As the command makes them."""
    begins, ends = soon(now or datetime.now(UTC), days)
    return development_certificate(name="Atelier", begins=begins, ends=ends)


def put(folder: Path, made: Certificates) -> tuple[Path, Path]:
    """The chain and the key as files; nobody else may read the key."""
    chain, key = folder / "certificate.pem", folder / "key.pem"
    folder.mkdir(parents=True, exist_ok=True)
    chain.write_bytes(made.chain)
    key.touch()
    key.chmod(0o600)
    key.write_bytes(made.key)
    return chain, key
