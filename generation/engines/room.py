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
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, NoReturn

from generation.engines.encoding import encode
from generation.engines.errors import CanceledError, DeviceError, DeviceMemoryError, EngineError, forget_trace
from generation.engines.fragments import LOADED, RETRIES, Ended, Fragment, Note, Step, Words
from generation.engines.limits import NO_LIMITS, Limits
from generation.engines.memory import MemoryManager
from generation.engines.protocol import (
    Channel,
    EngineCrashedError,
    Figures,
    Frame,
    Message,
    ProtocolError,
    RoomStatus,
)
from generation.engines.protocol import error_header as header_of
from generation.engines.wish import Wish

if TYPE_CHECKING:
    from generation.engines.attempts import Attempts
    from generation.engines.device import Device

logger = logging.getLogger("generation.engines.room")

HEARTBEAT_SECONDS = 2.0
REST_SECONDS = 5.0  # between two looks at what has been idle for too long
STEP_SECONDS = 1.0  # between two signs of progress; networks make up to hundreds of steps in that time
TAKEN = (Message.GENERATE, Message.UNLOAD, Message.KEEP, Message.BYE)
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


class Room:
    """Takes wishes from one client, one after the other, or those that can be drawn together side by side."""

    def __init__(self, channel: Channel, limits: Limits = NO_LIMITS) -> None:
        self._channel = channel
        self._limits = limits
        self._inbox: SimpleQueue[Wish] = SimpleQueue()
        self._waiting: deque[Wish] = deque()  # taken out of the inbox
        self._wishes: dict[int, Wish] = {}  # by number; the listener adds, the worker removes
        self._open: list[Wish] = []  # those that are worked at and not answered yet; notes go to the first
        self._held: Callable[[], None] | None = None  # the answer to the last of them
        self._company = False  # whether anybody has joined them
        self._looked = 0.0  # when time was last shared out
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
            wish = self._next()
            if wish is None:
                self._manager.rest()
            elif wish.frame.type is Message.BYE:
                return
            else:
                self._serve(wish)

    def _next(self) -> Wish | None:
        """The next one; None when nobody asked for anything for a while."""
        try:
            return self._waiting.popleft() if self._waiting else self._inbox.get(timeout=REST_SECONDS)
        except Empty:
            return None

    def refuse(self, error: EngineError) -> None:
        """Tell why this room cannot work at all."""
        self._send(Frame(Message.FAILED, header=header_of(error)))

    def _hear(self, frame: Frame) -> None:
        if frame.type is Message.CANCEL:
            if wish := self._wishes.get(frame.number):
                wish.token.cancel()
        elif frame.type in TAKEN:
            self._wishes[frame.number] = Wish(frame)
            self._inbox.put(self._wishes[frame.number])
        else:
            raise ProtocolError(f"The room does not take {frame.type.name}.")

    def _serve(self, wish: Wish) -> None:
        self._open, self._held, self._looked = [wish], None, time.perf_counter()
        failure: EngineError | None = None
        try:
            wish.token.raise_if_canceled()
            if wish.frame.type is Message.UNLOAD:
                self._manager.purge("asked for")
                self._answer(wish, {})
            elif wish.frame.type is Message.KEEP:
                self._manager.keep_warm(wish.kept())
                self._answer(wish, {})
            else:
                self._draw(wish)
        except EngineError as error:
            failure = forget_trace(error)
        except MemoryError:
            failure = DeviceMemoryError("Memory ran out.", hint="Use a smaller size, or give the room more memory.")
        except Exception as error:
            logger.exception("Wish %d crashed the engine", wish.number)
            failure = EngineCrashedError.of(error)
        if failure is not None:  # outside any `except`: a traceback keeps tensors alive
            for left in list(self._open):
                self._fail(left, failure)

    def _draw(self, wish: Wish) -> None:
        """Draw for one and for those who join meanwhile, and answer each."""
        from generation.engines.attempts import Attempts  # here, so that the room listens before torch is read
        from generation.engines.party import Party

        self._manager.device.reset_peak()
        first = Attempts(self._manager, *wish.asked(), wish.token)
        guests, self._company = {id(first): wish}, False
        for guest, item in Party(self._manager, lambda: self._join(first, guests)).run(first):
            self._share_time()
            self._take_in()
            if isinstance(item, Ended):
                self._see_off(guests.pop(id(guest)), guest, item.error, alone=not self._company)
            else:
                self._pass_on(item, guests[id(guest)])
        self._tell_held()

    def _join(self, first: "Attempts", guests: dict[int, Wish]) -> list["Attempts"]:
        """Those of the waiting who can be drawn beside the first; in their order, so that nobody overtakes."""
        from generation.engines.attempts import Attempts

        self._take_in()
        fresh: list[Attempts] = []
        while self._waiting and self._joins(self._waiting[0], first):
            wish = self._waiting.popleft()
            fresh.append(Attempts(self._manager, *wish.asked(), wish.token))
            guests[id(fresh[-1])], self._company = wish, True
            self._share_time()
            self._open.append(wish)
            self._tell_held()
        return fresh

    def _take_in(self) -> None:
        """What came meanwhile; who does not want to be drawn any more need not wait for their turn."""
        while not self._inbox.empty():
            self._waiting.append(self._inbox.get())
        for wish in [one for one in self._waiting if one.token.is_canceled()]:
            self._waiting.remove(wish)
            del self._wishes[wish.number]
            self._send(Frame(Message.FAILED, wish.number, header_of(CanceledError("Canceled."))))

    def _joins(self, wish: Wish, first: "Attempts") -> bool:
        from generation.engines.party import may_join

        with suppress(EngineError):  # what cannot be read is answered in its turn
            others = [] if self._held else [one.asked()[1] for one in self._open]
            return wish.frame.type is Message.GENERATE and may_join(self._manager, first, *wish.asked(), others)
        return False

    def _share_time(self) -> None:
        """What has passed since the last look was spent on all that are open, alike."""
        now = time.perf_counter()
        for wish in self._open:
            wish.spent += (now - self._looked) / len(self._open)
        self._looked = now

    def _see_off(self, wish: Wish, guest: "Attempts", error: EngineError | None, *, alone: bool) -> None:
        """Answer one; the last of all when everything is put away, unless somebody joins before."""

        def answer() -> None:
            if error is not None:
                self._fail(wish, error)
            else:
                self._answer(wish, self._figures(wish, guest, alone=alone).to_dict())

        if self._open == [wish]:
            self._held = answer
        else:
            answer()

    def _tell_held(self) -> None:
        answer, self._held = self._held, None
        if answer is not None:
            answer()

    def _figures(self, wish: Wish, guest: "Attempts", *, alone: bool) -> Figures:
        """What was needed is learnt only from those who were alone."""
        device = self._manager.device
        device.synchronize()
        return Figures(
            load_seconds=round(wish.load_seconds, 3),
            first_fragment_seconds=round(wish.first_seconds, 3),
            total_seconds=round(wish.seconds, 3),
            device_seconds=round(wish.device_seconds, 3),
            peak_memory_bytes=device.peak_memory(),
            device=device.kind,
            checkpoint=guest.spec.name,
            precision=guest.precision,
            memory=guest.plan.memory,
            need_bytes=self._manager.learn(guest.spec, guest.plan, guest.params) if alone else 0,
        )

    def _fail(self, wish: Wish, error: EngineError) -> None:
        sound = self._recover(canceled=isinstance(error, CanceledError))
        if not sound and isinstance(error, EngineCrashedError):  # the device may be to blame, so another may draw it
            error = DeviceError(f"{error.message} The device does not work any more.", hint=error.hint)
        if sound or self._open == [wish]:  # else none of several is told that it was their fault
            spent = {"device_seconds": round(wish.device_seconds, 3)}
            self._answer(wish, header_of(error) | spent, Message.FAILED)
        if not sound:
            _leave(POISONED)

    def _answer(self, wish: Wish, header: dict[str, Any], kind: Message = Message.DONE) -> None:
        self._open.remove(wish)
        del self._wishes[wish.number]
        self._manager.settle(wish.frame.header.get("spec"), busy=bool(self._open))
        self._tell_status(self._send)  # first, so that who reads the answer already knows the new state
        self._send(Frame(kind, wish.number, header))

    def _pass_on(self, item: Fragment | Note | Step | Words, wish: Wish) -> None:
        if isinstance(item, Note):
            if item.kind in RETRIES:
                wish.forgive()
            return self._tell(item, wish)
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

    def _tell(self, note: Note, wish: Wish | None = None) -> None:
        """To whom it is about; what the memory manager does is told to the first of those who wait for it."""
        if wish is None and self._open:
            wish = self._open[0]
        if wish is not None and note.kind == LOADED:
            wish.load_seconds += note.detail["seconds"]
        header = {"kind": note.kind, "message": note.message, "detail": note.detail}
        self._send(Frame(Message.NOTE, wish.number if wish is not None else 0, header))

    def _tell_status(self, send: Callable[[Frame], object]) -> None:
        if self._memory is not None:
            device, resident = self._memory.device, self._memory.resident
            used, ledger = device.memory_used(), self._memory.ledger.to_dict()
            status = RoomStatus(os.getpid(), device.kind, resident, used, self._total, ledger)
            send(Frame(Message.STATUS, header=status.to_header()))

    def _recover(self, *, canceled: bool) -> bool:
        """Free what the failed wish held. False when the device does not even do that: then this process must go."""
        device = self._manager.device
        try:
            device.tidy() if canceled else device.purge()
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


def _choose_device(wish: str, threads: int, nice: int) -> "Device":
    import torch  # here, so that the room listens before the seconds this takes

    from generation.engines.device import Device
    from generation.engines.heap import heed_address_limit

    heed_address_limit()
    if threads:
        torch.set_num_threads(threads)
    device = Device.choose(wish)
    if device.kind == "cpu" and nice:
        os.nice(nice)  # this thread, and those that it starts to draw with; who listens stays prompt
    return device


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="generation.engines.room", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="descriptor of the socket to the client")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0, help="0 takes all")
    parser.add_argument("--nice", type=int, default=0, help="by how much to give way to others, on a CPU")
    parser.add_argument("--die-with", type=int, default=0, help="process to end with")
    parser.add_argument("--log-level", default="INFO")
    parser.add_argument("--limits", default="{}", help="of memory, as JSON")
    return parser.parse_args()


def main() -> None:
    """Open the room on the descriptor that the client passed."""
    arguments = _arguments()
    if arguments.die_with:
        _die_with(arguments.die_with)
    # Sent to everybody of a service. The client answers for this process, and may have a picture finished first.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    os.environ.update(OFFLINE)
    faulthandler.enable()
    logging.basicConfig(level=arguments.log_level, format="%(asctime)s %(levelname)s room %(name)s %(message)s")
    logging.captureWarnings(True)
    room = Room(Channel(socket.socket(fileno=arguments.fd)), Limits(**json.loads(arguments.limits)))
    Thread(target=room.listen, name="listener", daemon=True).start()
    try:
        device = _choose_device(arguments.device, arguments.threads, arguments.nice)
    except EngineError as error:
        room.refuse(error)
    else:
        room.work(device)
    _leave(0)


if __name__ == "__main__":
    main()
