"""Streams that never end, sent as a worker sends them: a process of its own, through the layer of the installation.

Run with a portal's settings and `python -m tests.load.streams SECONDS RATE BYTES OWNER ...`. Each fragment carries the
moment at which it was made where its picture would begin. Stopped with SIGTERM it prints how many it made.
"""

import signal
import struct
import sys
import threading
import time
import uuid
from random import Random

import django

MOMENT = struct.Struct("!d")
LAST_SECONDS = 2.0  # for what still leaves in the background


def main() -> None:
    """A request for each owner, `RATE` fragments a second each, spread evenly over the second."""
    django.setup()
    from generation.engines.fragments import Kind
    from generation.events import Frame, publish_frame

    seconds, rate, size = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    owners = [uuid.UUID(word) for word in sys.argv[4:]]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    filler = Random(1).randbytes(size - MOMENT.size)
    requests = [uuid.uuid4() for _ in owners]
    pause, began, sent = 1 / (rate * len(owners)), time.monotonic(), 0
    while (due := sent * pause) < seconds and not stop.wait(max(began + due - time.monotonic(), 0)):
        turn, place = divmod(sent, len(owners))
        data = MOMENT.pack(time.time()) + filler
        frame = Frame(Kind.PREVIEW, requests[place], 1, 0, turn, 0, 0, 64, 64, 512, 512, turn, 60000, data)
        publish_frame(owners[place], frame)
        sent += 1
    print(sent)  # noqa: T201 for who started it
    time.sleep(LAST_SECONDS)


if __name__ == "__main__":
    main()
