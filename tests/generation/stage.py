"""A stage for stream.js without a server: our static files, a card, and a socket whose other end is the test."""

import io
import json
import mimetypes
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Picture
from playwright.sync_api import Page, Route, WebSocketRoute

from generation.engines.fragments import Kind
from generation.events import Frame

STATIC = Path(__file__).resolve().parents[2] / "generation" / "static" / "generation"
ORIGIN = "http://stage.test"
REQUEST = "0190b7a4-0000-4000-8000-00000000000a"
EDGE, BAND = 64, 8
POLICY = "default-src 'self'; script-src 'self'; img-src 'self' blob:; connect-src 'self' ws://stage.test"
CARD = """<article id="request-{id}" data-request="{id}" data-state="{state}" data-version="1" data-run="0">
<span data-request-state></span><span data-request-position hidden></span><progress data-request-progress></progress>
<span data-request-progress-text></span><p data-request-note hidden></p><p data-request-answer hidden></p>
<div data-request-error hidden><p data-request-error-message></p><p data-request-error-hint></p></div>
<button data-request-cancel>Cancel</button><button data-request-retry hidden>Try again</button>
<a data-picture-link><canvas data-canvas data-index="0" width="64" height="64"></canvas></a></article>"""
# The same with a place for a second picture.
CARD_OF_TWO = CARD.replace(
    "</article>",
    '<a data-picture-link><canvas data-canvas data-index="1" width="64" height="64"></canvas></a></article>',
)
PAGE = """<!doctype html><p data-stream-connection hidden></p><p data-stream-announcer></p>
<section data-stream>{cards}</section><script type="module" src="/static/stream.js"></script>"""

Pixels = npt.NDArray[np.uint8]


def picture(seed: int, width: int = EDGE, height: int = EDGE) -> Pixels:
    """Pixels that no other seed gives."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encode(pixels: Pixels, kind: str = "WEBP") -> bytes:
    """Without loss."""
    stream = io.BytesIO()
    Picture.fromarray(pixels).save(stream, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return stream.getvalue()


def band(pixels: Pixels, sequence: int, *, run: int = 1, index: int = 0) -> bytes:
    """Fragment number `sequence` of a picture, packed."""
    top = sequence * BAND
    data = encode(pixels[top : top + BAND])
    return Frame(
        Kind.FRAGMENT, uuid.UUID(REQUEST), run, index, sequence, 0, top, EDGE, BAND, EDGE, EDGE, sequence + 1, 8, data
    ).pack()


def preview(pixels: Pixels, sequence: int, *, run: int = 1, index: int = 0) -> bytes:
    """A whole small picture, packed."""
    height, width = pixels.shape[:2]
    data = encode(pixels)
    return Frame(
        Kind.PREVIEW, uuid.UUID(REQUEST), run, index, sequence, 0, 0, width, height, EDGE, EDGE, sequence + 1, 8, data
    ).pack()


class Stage:
    """The page and the other end of its socket."""

    def __init__(self, page: Page, cards: str) -> None:
        self.page, self.files = page, {"/": PAGE.format(cards=cards).encode()}
        self.sockets: list[WebSocketRoute] = []
        self.heard: list[dict[str, Any]] = []
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        page.route(f"{ORIGIN}/**", self._serve)
        page.route_web_socket("**/ws/studio/", self._meet)
        page.goto(f"{ORIGIN}/")

    def _serve(self, route: Route) -> None:
        path = route.request.url.removeprefix(ORIGIN)
        if path.startswith("/static/"):
            body: bytes | None = (STATIC / path.removeprefix("/static/")).read_bytes()
        else:
            body = self.files.get(path)
        if body is None:
            route.fulfill(status=404, body="")
            return
        kind = "text/html" if path == "/" else mimetypes.guess_type(path)[0]
        route.fulfill(body=body, headers={"content-type": str(kind), "content-security-policy": POLICY})

    def _meet(self, socket: WebSocketRoute) -> None:
        socket.on_message(lambda text: self.heard.append(json.loads(text)))
        self.sockets.append(socket)
        self.tell(type="snapshot", requests=[], positions={})

    def tell(self, **event: Any) -> None:
        """A text frame to the page."""
        self.sockets[-1].send(json.dumps(event))

    def send(self, *frames: bytes) -> None:
        """Binary frames to the page."""
        for frame in frames:
            self.sockets[-1].send(frame)

    def state(self, state: str, **more: Any) -> None:
        """A change of state of the one request."""
        kind = "request.completed" if state == "completed" else "request.state"
        self.tell(type=kind, request={**PAYLOAD, "state": state, **more})

    def canvas(self, index: int = 0) -> Pixels:
        """The pixels of a canvas; what was never painted is black."""
        script = """(index) => { const canvas = document.querySelectorAll("canvas")[index];
        return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]; }"""
        pixels = np.array(self.page.evaluate(script, index), dtype=np.uint8).reshape(EDGE, EDGE, 4)
        return pixels[:, :, :3]

    def data(self, name: str) -> str | None:
        """A data attribute of the canvas."""
        return self.page.locator("canvas").get_attribute(f"data-{name}")

    def wait(self, script: str) -> None:
        """Until a JavaScript function is true; a bare expression would need eval, which the policy forbids."""
        self.page.wait_for_function(script, timeout=30_000)

    def until(self, *, acked: int | None = None, resumed: int | None = None) -> None:
        """Until the page has dealt with so many frames, or asked to resume so often."""
        for _ in range(1500):
            acks = [message["n"] for message in self.heard if message["type"] == "ack"]
            resumes = self.resumes()
            if (acked is None or acks[-1:] == [acked]) and (resumed is None or len(resumes) >= resumed):
                return
            self.page.wait_for_timeout(20)
        raise AssertionError(f"The page said only {self.heard}")

    def wait_for_word(self, kind: str) -> None:
        """Until the page has said something of this type."""
        for _ in range(500):
            if any(message["type"] == kind for message in self.heard):
                return
            self.page.wait_for_timeout(20)
        raise AssertionError(f"The page said only {self.heard}")

    def resumes(self) -> list[dict[str, Any]]:
        """What the page asked to resume."""
        return [message for message in self.heard if message["type"] == "resume"]


PAYLOAD = {
    "id": REQUEST, "state": "running", "version": 2, "run": 1, "prompt": "a cat", "checkpoint": "Tiny",
    "width": EDGE, "height": EDGE, "count": 1, "step": 0, "steps": 8,
}  # fmt: skip
