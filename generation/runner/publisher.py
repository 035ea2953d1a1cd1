"""Shows a drawing to its owner while it appears. Nothing in here may fail a render."""

import logging
import time
from collections.abc import Callable

from django.db import DatabaseError

from generation import events, live
from generation.engines.fragments import Note, Step, Words
from generation.engines.protocol import EncodedFragment
from generation.models import GenerationRequest
from generation.services.announcements import request_note
from generation.services.transitions import request_progress, request_words

logger = logging.getLogger(__name__)

STEP_SECONDS = 0.5
WORDS_SECONDS = 0.1  # words come faster than anybody reads


class Publisher:
    """Fragments, words, notes and steps of one request."""

    def __init__(self, request: GenerationRequest) -> None:
        self._request = request
        self._count = int(request.param("count", 1))
        self._steps: dict[int, int] = {}
        self._written = 0.0
        self._said = 0.0
        self._kept = 0.0

    def start(self) -> None:
        """What an earlier attempt left must not mix with this one."""
        self._safely(lambda: live.drop(self._request.pk))

    def fragment(self, fragment: EncodedFragment) -> None:
        """Keep it for those who come late, show it to those who watch."""
        frame = events.Frame(
            kind=fragment.kind,
            request=self._request.pk,
            run=self._request.run,
            index=fragment.index,
            sequence=fragment.sequence,
            x=fragment.x,
            y=fragment.y,
            width=fragment.width,
            height=fragment.height,
            canvas_width=fragment.canvas_width,
            canvas_height=fragment.canvas_height,
            step=fragment.step,
            steps=fragment.steps,
            data=fragment.data,
        )
        self._safely(lambda: live.keep(self._request.pk, frame))
        self._safely(lambda: events.publish_frame(self._request.owner_id, frame))
        self.step(fragment)

    def step(self, made: EncodedFragment | Step) -> None:
        """How far one picture is; written now and then."""
        self._steps[made.index] = made.step
        if time.monotonic() - self._written < STEP_SECONDS:
            return
        self._written = time.monotonic()
        done, steps = self._request.kept * made.steps + sum(self._steps.values()), made.steps * self._count
        self._safely(lambda: request_progress(request=self._request, step=done, steps=steps))

    def words(self, words: Words) -> None:
        """What has been said so far: shown now and then, written less often. The end is told with the state."""
        now, request = time.monotonic(), self._request
        if now - self._said >= WORDS_SECONDS:
            self._said = now
            payload = events.WordsPayload(id=str(request.pk), run=request.run, text=words.text)
            self._safely(lambda: events.publish_text(request.owner_id, {"type": "request.words", "words": payload}))
        if now - self._kept >= STEP_SECONDS:
            self._kept = now
            self._safely(lambda: request_words(request=request, answer=words.text))

    def note(self, note: Note) -> None:
        """What the memory manager does, in words."""
        self._safely(lambda: request_note(self._request, note.message))

    def end(self) -> None:
        """It is final: the pictures speak for themselves."""
        self._safely(lambda: live.drop(self._request.pk))

    def _safely(self, action: Callable[[], object]) -> None:
        try:
            action()
        except DatabaseError as error:
            logger.warning("A step of %s was not written: %s", self._request.pk, error)
        except Exception:
            logger.warning("A fragment of %s was not shown", self._request.pk, exc_info=True)
