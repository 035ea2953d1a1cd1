"""Daphne with bounded bodies: `python -m core.bounded_daphne` takes what `python -m daphne` takes.

Daphne reads a body whole, and Twisted parses forms by itself, before Django sees the request and can ask who sends it.
So anybody could fill the memory. Here a body above the limit is answered with 413, and only Django parses forms.
"""

import gc
import io
import sys
from pathlib import Path

import daphne.server
from daphne.cli import CommandLineInterface
from daphne.http_protocol import HTTPFactory, WebRequest
from django.conf import settings
from django.urls import get_resolver
from twisted.internet import reactor

from core.errors import TesseraError
from core.folder_lock import shared

# What a form may add to the largest upload that is taken: its other fields and the seams between them.
FORM_BYTES = 4 * 1024 * 1024
# A client that still sends reads no answer before it is done; what it sends is thrown away for so long.
PATIENCE_SECONDS = 5
# Pages are made in threads beside the loop that sends fragments. Whenever the loop wants to go on, each of them may
# keep it waiting for so long: Python's own 5 ms would add up to seconds when many people open pages at once.
SWITCH_SECONDS = 0.0005
# Python looks through everything it ever made for what is left in circles, and stands still meanwhile: 0.2 s and more,
# every few seconds. What is loaded at the start is left out for good, and there are fewer looks at the rest.
THRESHOLDS = (10_000, 20, 20)
WORDS = b"That is larger than this portal takes. Make it smaller and send it again."
# For browsers that sent a form: no template, no style and no script, since Django is not asked.
PAGE = (
    b'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Too large</title>'
    b'<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"></head>'
    b'<body><h1>Too large</h1><p>%s</p><p><a href="/">Back to the studio</a></p></body></html>\n' % WORDS
)
HEAD = b"HTTP/1.1 413 Content Too Large\r\nContent-Type: text/%s; charset=utf-8\r\nConnection: close\r\n"


class BoundedRequest(WebRequest):  # type: ignore[misc]
    """One request whose body is counted while it arrives."""

    _parsePOSTFormSubmission = False
    received = 0
    refused = False

    def gotLength(self, length: int | None) -> None:  # noqa: N802 Twisted's name
        """The headers are there. None is a body in chunks."""
        if length is not None and length > limit():
            self.refuse()
        else:
            super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 Twisted's name
        """Keep it, if it may be kept."""
        self.received += len(data)
        if not self.refused and self.received > limit():
            self.content.close()
            self.refuse()
        if not self.refused:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802 Twisted's name
        """The body is complete."""
        if not self.refused:
            super().requestReceived(command, path, version)

    def refuse(self) -> None:
        """Answer now, keep nothing, and hang up soon."""
        self.refused = True
        self.content = io.BytesIO()
        transport = self.channel.transport
        transport.write(answer(self.requestHeaders.getRawHeaders(b"accept", [])))
        transport.loseWriteConnection()
        reactor.callLater(PATIENCE_SECONDS, transport.abortConnection)


class SettledServer(daphne.server.Server):  # type: ignore[misc]
    """Daphne's, with all pages loaded before the first one is asked for."""

    def run(self) -> None:
        """Until it is ended."""
        settle()
        super().run()


class BoundedFactory(HTTPFactory):  # type: ignore[misc]
    """Makes channels whose requests are bounded."""

    def buildProtocol(self, addr: object) -> object:  # noqa: N802 Twisted's name
        """As Daphne's, with our request."""
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = BoundedRequest
        return protocol


def answer(accept: list[bytes]) -> bytes:
    """The refusal: a page for who asks for one, which scripts do not, else a line."""
    kind, body = (b"html", PAGE) if b"text/html" in b",".join(accept) else (b"plain", WORDS + b"\n")
    return HEAD % kind + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def limit() -> int:
    """The most bytes of a body that are taken."""
    return int(settings.UPLOAD_MAX_BYTES) + FORM_BYTES


def settle() -> None:
    """Load what pages need, and look at it for circles once and never again."""
    list(get_resolver().url_patterns)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


def main() -> None:
    """Daphne's command line. Its server makes the factory by this name and offers no setting for it."""
    daphne.server.HTTPFactory = BoundedFactory
    CommandLineInterface.server_class = SettledServer
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        with shared(Path(settings.DATA)):
            CommandLineInterface().run(sys.argv[1:])
    except TesseraError as error:
        sys.exit(f"The web process does not start: {error}")


if __name__ == "__main__":
    main()
