"""The drawing of one claimed request, from its row to its pictures, or to its answer in words.

Files are written first; then the rows of all pictures and the final state, in one transaction that is fenced by the
lease token. So whatever is killed when, a request never gets two sets of pictures.
"""

import logging
import math
import time
from dataclasses import dataclass, field, replace
from typing import cast

from django.db import DatabaseError

from generation import storage
from generation.engines.client import Reply
from generation.engines.errors import CanceledError, EngineError, RoomError
from generation.engines.fragments import LOADED, Kind, Note, Step, Words
from generation.engines.params import Capability, GenerationParams
from generation.engines.protocol import EncodedFragment, Figures
from generation.engines.talk import Ask
from generation.models import GenerationRequest, Image
from generation.runner.patience import patiently
from generation.runner.publisher import Publisher
from generation.runner.pulse import Pulse
from generation.runner.settling import settle
from generation.services.checkpoints import checkpoint_learn
from generation.services.footprints import footprint_learn
from generation.services.forecast import pace_learn
from generation.services.images import Drawn, image_write
from generation.services.local_files import spec_here
from generation.services.transitions import (
    LeaseLostError,
    request_complete,
    request_keep,
    request_run,
    request_save,
)

logger = logging.getLogger(__name__)

State = GenerationRequest.State
POLL_SECONDS = 0.25


class SourceMissingError(EngineError):
    """The picture to start from was deleted while the request waited."""

    code = "source_missing"


@dataclass(slots=True, eq=False)
class Drawing:
    """One attempt at one request. `problem`: why it cannot go on, though the room still draws."""

    request: GenerationRequest
    pulse: Pulse
    publisher: Publisher = field(init=False)
    pictures: list[Drawn] = field(default_factory=list)
    unwritten: list[EncodedFragment] = field(default_factory=list)
    answer: str | None = None
    figures: Figures | None = None
    canceled: bool = False
    kept: bool = False
    left: bool = False  # drawn, and ended when the next one is drawn
    ended: bool = False
    problem: Exception | None = None
    seen: bool = False  # some of it, by its owner
    seconds: float = 0.0
    polled: float = 0.0

    def __post_init__(self) -> None:
        self.publisher = Publisher(self.request)

    def begin(self) -> Ask:
        """What the room is asked. Raises SourceMissingError, InvalidParamsError."""
        self.pulse.begin(self.request)
        self.publisher.start()
        return Ask(spec_here(self.request.checkpoint), _portion_of(self.request), self._step)

    def is_well(self, error: Exception | None) -> bool:
        """Whether nothing but its completion is left to do."""
        return error is None and self.problem is None and not self.canceled and not self._rest_waits

    def end(self, error: Exception | None, seconds: float = 0.0) -> None:
        """Save and complete; or settle what went wrong. Raises only what nobody can settle (DatabaseError).

        `seconds` of the device were spent on it until it was canceled.
        """
        self.ended, self.seconds = True, seconds
        try:
            if (problem := self.problem or error or self._finish()) is not None:
                self._forget_files()  # first: on a full disk they take the room that the outcome needs
                self._settle(problem)
        except LeaseLostError:
            logger.warning("Request %s was given to somebody else; its drawing is dropped", self.request.pk)
        finally:
            self.pulse.end(self.request)
            self._forget_files()
            self.publisher.end()
        if self.kept:
            self._learn()

    def _finish(self) -> Exception | None:
        """What went wrong; None when the pictures are kept."""
        try:
            if not self.canceled:
                self._write()
                self._require_all()
                self._save()
        except Exception as error:  # noqa: BLE001 whatever it is becomes an outcome in the row
            return error
        if self.kept:
            return None
        self.canceled = True
        return CanceledError("Canceled.")

    def _settle(self, problem: Exception) -> None:
        # However long it takes: nothing else can be done with this request before its outcome is written.
        patiently(
            lambda: settle(
                self.request, problem, stopping=self.pulse.stopping, canceled=self.canceled, seconds=self._charged()
            ),
            touch=self.pulse.touch,
            seconds=math.inf,
        )

    def _charged(self) -> float:
        """Of what was canceled: nothing before its owner saw any of it, then what was used."""
        told = self.figures.device_seconds if self.figures else self.seconds
        return told if self.seen else 0.0

    def _require_all(self) -> None:
        describes, count = self.request.capability == "describe", self.request.portion
        if describes and self.answer is None:
            raise RoomError("The engine room gave no answer.")
        if not describes and len(self.pictures) != count:
            raise RoomError(f"The engine room drew {len(self.pictures)} of {count} pictures.")

    def hear(self, reply: Reply) -> None:
        """Anything that the room says of it."""
        if isinstance(reply, Note):
            self._tell(reply)
        elif isinstance(reply, Figures):
            self.figures = reply
        elif isinstance(reply, EncodedFragment):
            self._take(reply)
        else:
            self._say(reply)

    @property
    def _rest_waits(self) -> bool:
        """Whether pictures of it are left to draw when this drawing is over."""
        return self.request.kept + self.request.portion < int(self.request.param("count", 1))

    def _tell(self, note: Note) -> None:
        if note.kind == LOADED:
            self._begin()
        self.publisher.note(note)

    def _step(self, step: Step) -> None:
        self._begin()
        self.publisher.step(replace(step, index=self.request.kept + step.index))

    def _begin(self) -> None:
        if self.request.state == State.LOADING:
            patiently(lambda: request_run(request=self.request), touch=self.pulse.touch)

    def _take(self, fragment: EncodedFragment) -> None:
        self._begin()
        self.seen = True
        fragment = replace(fragment, index=self.request.kept + fragment.index)
        if fragment.kind is not Kind.FINAL:
            self.publisher.fragment(fragment)
            return
        self.unwritten.append(fragment)
        if len(self.pictures) + 1 < self.request.portion:  # the room draws on; the last is written at the end
            self._write()

    def _write(self) -> None:
        while self.unwritten:
            self.pictures.append(image_write(request=self.request, final=self.unwritten[0]))
            del self.unwritten[0]

    def _say(self, words: Words) -> None:
        self._begin()
        self.seen = True
        words = replace(words, text=words.text.replace("\0", ""))  # which no database takes
        self.publisher.words(words)
        if words.final:
            self.answer = words.text

    def _save(self) -> None:
        patiently(lambda: request_save(request=self.request), touch=self.pulse.touch)
        self.kept = patiently(self._keep if self._rest_waits else self._complete, touch=self.pulse.touch)

    def _keep(self) -> bool:
        seconds = self.figures.device_seconds if self.figures else 0.0
        return request_keep(request=self.request, pictures=self.pictures, seconds=seconds)

    def _complete(self) -> bool:
        figures = self.figures.to_dict() if self.figures else {}
        return request_complete(request=self.request, pictures=self.pictures, figures=figures, answer=self.answer or "")

    def _learn(self) -> None:
        if self.figures is None:
            return
        self._learn_pace(self.figures)
        if not self.pictures:
            return
        self._learn_memory(self.figures)
        seconds = (self.figures.total_seconds - self.figures.load_seconds) / len(self.pictures)
        try:
            checkpoint_learn(checkpoint=self.request.checkpoint, seconds=round(seconds, 3))
        except DatabaseError as error:
            logger.warning("The time of %s was not learnt: %s", self.request.checkpoint, error)

    def _learn_pace(self, figures: Figures) -> None:
        try:
            pace_learn(
                request=self.request,
                drawn=figures.device_seconds,
                loaded=figures.load_seconds,
                pictures=self.request.portion,
            )
        except DatabaseError as error:
            logger.warning("The pace of %s was not learnt: %s", self.request.checkpoint, error)

    def _learn_memory(self, figures: Figures) -> None:
        width, height = self.request.param("width"), self.request.param("height")
        try:
            footprint_learn(checkpoint=self.request.checkpoint, figures=figures, width=width, height=height)
        except DatabaseError as error:
            logger.warning("The memory of %s was not learnt: %s", self.request.checkpoint, error)

    def look_up(self) -> None:
        """Learn now and then whether it is wanted still: `canceled` if not. Raises LeaseLostError."""
        if time.monotonic() - self.polled >= POLL_SECONDS:
            self.polled = time.monotonic()
            self.canceled = self._is_unwanted()

    def _is_unwanted(self) -> bool:
        """Somebody canceled it, or its owner was deactivated. Raises LeaseLostError when it is not ours any more."""
        try:
            row = (
                GenerationRequest.objects.filter(pk=self.request.pk, lease_token=self.request.lease_token)
                .values_list("cancel_requested_at", "owner__is_active")
                .first()
            )
        except DatabaseError as error:
            logger.warning("The database did not answer: %s", error)
            return False
        if row is None:
            raise LeaseLostError("The request was given to somebody else.")
        return row[0] is not None or not row[1]

    def _forget_files(self) -> None:
        """Delete what has no row. What cannot be decided now is left to the daily sweep."""
        if self.kept or not self.pictures:
            return
        files = {drawn.stored.file for drawn in self.pictures}
        try:
            files -= set(Image.objects.filter(file__in=files).values_list("file", flat=True))
        except DatabaseError as error:
            logger.warning("The files of %s are left to the sweep: %s", self.request.pk, error)
            return
        for file in files:
            storage.delete(file)
        self.pictures.clear()


def _portion_of(request: GenerationRequest) -> GenerationParams:
    params = params_of(request)
    return replace(params, seed=params.seed + request.kept, count=request.portion)


def params_of(request: GenerationRequest) -> GenerationParams:
    """What the engine room is asked for. Raises SourceMissingError."""
    return GenerationParams(
        prompt=request.prompt,
        capability=cast(Capability, request.capability),
        source=_source(request),
        **request.params,
    )


def _source(request: GenerationRequest) -> bytes | None:
    if not request.starts_from_picture:
        return None
    source = request.source_image or request.source_upload
    try:
        if source is not None:
            return storage.read(source.file)
    except FileNotFoundError:
        logger.warning("The picture that request %s starts from is gone", request.pk)
    raise SourceMissingError("The picture to start from is not there any more.", hint="Hand it in again.")
