"""The engine room: the only process that holds weights. Run by the client, never by hand.

The main thread works; a second one listens to the client, so that a cancel is heard in mid-picture and a client
that has gone ends this process at once. Errors leave as a sentence; tracebacks stay in the log.
"""

import argparse
import ctypes
import faulthandler
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, NoReturn

from generation.engines.base import CancelToken
from generation.engines.encoding import encode
from generation.engines.errors import CanceledError, EngineError
from generation.engines.fragments import LOADED, Fragment, Note, Step, Words
from generation.engines.limits import NO_LIMITS, Limits
from generation.engines.memory import MemoryManager
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.protocol import (
    Channel,
    EngineCrashedError,
    Figures,
    Frame,
    Message,
    ProtocolError,
    RoomStatus,
    split_parts,
)
from generation.engines.protocol import error_header as header_of

if TYPE_CHECKING:
    from generation.engines.device import Device

logger = logging.getLogger("generation.engines.room")

HEARTBEAT_SECONDS = 2.0
REST_SECONDS = 5.0  # between two looks at what has been idle for too long
STEP_SECONDS = 1.0  # between two signs of progress; networks make up to hundreds of steps in that time
PR_SET_PDEATHSIG = 1
POISONED = 70  # exit code after a failure that leaves the device in doubt
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "DIFFUSERS_DISABLE_REMOTE_CODE": "true",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(slots=True)
class Wish:
    """What the client asked for, and what has been sent for it so far."""

    number: int
    began: float = field(default_factory=time.perf_counter)
    token: CancelToken = field(default_factory=CancelToken)
    load_seconds: float = 0.0
    first_seconds: float = 0.0
    told: float = 0.0

    @property
    def seconds(self) -> float:
        """Since it arrived."""
        return time.perf_counter() - self.began


class Room:
    """Takes wishes from one client, one after the other."""

    def __init__(self, channel: Channel, limits: Limits = NO_LIMITS) -> None:
        self._channel = channel
        self._limits = limits
        self._inbox: SimpleQueue[tuple[Frame, Wish]] = SimpleQueue()
        self._wishes: dict[int, Wish] = {}  # by number; the listener adds, the worker removes
        self._wish = Wish(0)
        self._memory: MemoryManager | None = None
        self._total = 0

    def listen(self) -> None:
        """Hear the client and tell it the state now and then. Ends the process when the client is gone."""
        parent = os.getppid()
        try:
            while os.getppid() == parent:
                if not self._channel.readable(HEARTBEAT_SECONDS):
                    self._tell_status(self._channel.offer)
                elif frame := self._channel.receive():
                    self._hear(frame)
                else:
                    break
        except (ProtocolError, OSError) as error:
            logger.warning("The client was lost: %s", error)
        except BaseException:
            logger.exception("The listener failed")
        _leave(0)

    def work(self, device: "Device") -> None:
        """Serve until the client says goodbye."""
        self._total = device.memory_total()
        self._memory = MemoryManager(device, limits=self._limits, tell=self._tell)
        self._tell_status(self._send)
        while True:
            try:
                frame, wish = self._inbox.get(timeout=REST_SECONDS)
            except Empty:
                self._rest()
                continue
            if frame.type is Message.BYE:
                return
            self._serve(frame, wish)

    def _rest(self) -> None:
        """Nobody asks for anything."""
        self._wish = Wish(0)
        self._manager.rest()

    def refuse(self, error: EngineError) -> None:
        """Tell why this room cannot work at all."""
        self._send(Frame(Message.FAILED, header=header_of(error)))

    def _hear(self, frame: Frame) -> None:
        if frame.type is Message.CANCEL:
            if wish := self._wishes.get(frame.number):
                wish.token.cancel()
        elif frame.type in (Message.GENERATE, Message.UNLOAD, Message.BYE):
            self._wishes[frame.number] = Wish(frame.number)
            self._inbox.put((frame, self._wishes[frame.number]))
        else:
            raise ProtocolError(f"The room does not take {frame.type.name}.")

    def _serve(self, frame: Frame, wish: Wish) -> None:
        self._wish = wish
        answer, crashed = self._answer(frame, wish), False
        if answer.type is Message.FAILED:  # outside any `except`: a traceback keeps tensors alive
            crashed = not self._recover()
        self._manager.settle(frame.header.get("spec"))
        del self._wishes[wish.number]
        self._tell_status(self._send)  # first, so that who reads the answer already knows the new state
        self._send(answer)
        if crashed:
            _leave(POISONED)

    def _answer(self, frame: Frame, wish: Wish) -> Frame:
        try:
            if frame.type is Message.UNLOAD:
                self._manager.purge("asked for")
                return Frame(Message.DONE, wish.number)
            return Frame(Message.DONE, wish.number, self._draw(frame, wish).to_dict())
        except CanceledError as error:
            return Frame(Message.FAILED, wish.number, header_of(error))
        except EngineError as error:
            logger.warning("Wish %d failed: %s", wish.number, error, exc_info=True)
            return Frame(Message.FAILED, wish.number, header_of(error))
        except Exception as error:
            logger.exception("Wish %d crashed the engine", wish.number)
            crash = EngineCrashedError(
                f"The engine failed unexpectedly ({type(error).__name__}).",
                hint="The log of the engine room tells more.",
            )
            return Frame(Message.FAILED, wish.number, header_of(crash))

    def _draw(self, frame: Frame, wish: Wish) -> Figures:
        spec, params = _read_wish(frame)
        device = self._manager.device
        device.reset_peak()
        from generation.engines.attempts import Attempts  # here, so that the room listens before torch is read

        attempts = Attempts(self._manager, spec, params, wish.token)
        for item in attempts.run():
            self._pass_on(item, wish)
        device.synchronize()
        return Figures(
            load_seconds=round(wish.load_seconds, 3),
            first_fragment_seconds=round(wish.first_seconds, 3),
            total_seconds=round(wish.seconds, 3),
            peak_memory_bytes=device.peak_memory(),
            device=device.kind,
            checkpoint=spec.name,
            precision=attempts.precision,
            memory=attempts.plan.memory,
            need_bytes=self._manager.learn(spec, attempts.plan, params),
        )

    def _pass_on(self, item: Fragment | Note | Step | Words, wish: Wish) -> None:
        if isinstance(item, Note):
            return self._tell(item)
        if isinstance(item, Words):
            wish.first_seconds = wish.first_seconds or wish.seconds
            return self._send(Frame(Message.WORDS, wish.number, asdict(item)))
        if isinstance(item, Step):
            return self._tell_step(item, wish)
        wish.first_seconds = wish.first_seconds or wish.seconds
        encoded = encode(item)
        return self._send(Frame(Message.EVENT, wish.number, encoded.to_header(), encoded.data))

    def _tell_step(self, step: Step, wish: Wish) -> None:
        if wish.seconds - wish.told >= STEP_SECONDS:
            wish.told = wish.seconds
            self._send(Frame(Message.STEP, wish.number, asdict(step)))

    def _tell(self, note: Note) -> None:
        if note.kind == LOADED:
            self._wish.load_seconds += note.detail["seconds"]
        header = {"kind": note.kind, "message": note.message, "detail": note.detail}
        self._send(Frame(Message.NOTE, self._wish.number, header))

    def _tell_status(self, send: Callable[[Frame], object]) -> None:
        if self._memory is not None:
            device, resident = self._memory.device, self._memory.resident
            used, ledger = device.memory_used(), self._memory.ledger.to_dict()
            status = RoomStatus(os.getpid(), device.kind, resident, used, self._total, ledger)
            send(Frame(Message.STATUS, header=status.to_header()))

    def _recover(self) -> bool:
        """Free what the failed wish held. False when the device does not even do that: then this process must go."""
        try:
            self._manager.device.purge()
        except Exception:
            logger.exception("The device is in doubt, the room gives itself up")
            return False
        return True

    @property
    def _manager(self) -> MemoryManager:
        if self._memory is None:
            raise EngineCrashedError("The room is not open yet.")
        return self._memory

    def _send(self, frame: Frame) -> None:
        try:
            self._channel.send(frame)
        except OSError:
            _leave(0)


def _read_wish(frame: Frame) -> tuple[CheckpointSpec, GenerationParams]:
    try:
        source, mask = split_parts(frame.header["parts"], frame.body)
        params = GenerationParams.from_header(frame.header["params"], source=source, mask=mask)
        return CheckpointSpec(**frame.header["spec"]), params
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"A wish cannot be read: {error}.") from error


def _leave(code: int) -> NoReturn:
    """End at once: no finalizer of a library may hold a process that nobody waits for."""
    logging.shutdown()
    os._exit(code)


def _die_with(parent: int) -> None:
    """Ask Linux to kill this process with its parent, which covers even a stopped one."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        _leave(0)


def _choose_device(wish: str, threads: int) -> "Device":
    import torch  # here, so that the room listens before the seconds this takes

    from generation.engines.device import Device

    if threads:
        torch.set_num_threads(threads)
    return Device.choose(wish)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="generation.engines.room", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="descriptor of the socket to the client")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0, help="0 takes all")
    parser.add_argument("--die-with", type=int, default=0, help="process to end with")
    parser.add_argument("--log-level", default="INFO")
    parser.add_argument("--limits", default="{}", help="of memory, as JSON")
    return parser.parse_args()


def main() -> None:
    """Open the room on the descriptor that the client passed."""
    arguments = _arguments()
    if arguments.die_with:
        _die_with(arguments.die_with)
    os.environ.update(OFFLINE)
    faulthandler.enable()
    logging.basicConfig(level=arguments.log_level, format="%(asctime)s %(levelname)s room %(name)s %(message)s")
    logging.captureWarnings(True)
    room = Room(Channel(socket.socket(fileno=arguments.fd)), Limits(**json.loads(arguments.limits)))
    Thread(target=room.listen, name="listener", daemon=True).start()
    try:
        device = _choose_device(arguments.device, arguments.threads)
    except EngineError as error:
        room.refuse(error)
    else:
        room.work(device)
    _leave(0)


if __name__ == "__main__":
    main()
