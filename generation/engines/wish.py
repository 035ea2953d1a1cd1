"""One wish inside the engine room: what was asked for, how far it is, what it has taken so far. No torch."""

import time
from dataclasses import dataclass, field

from generation.engines.base import CancelToken
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.protocol import Frame, ProtocolError, split_parts

Asked = tuple[CheckpointSpec, GenerationParams]


@dataclass(slots=True, eq=False)
class Wish:
    """What the client asked for, and what has been sent for it so far.

    `spent`: seconds of the device, loading included; those that were spent on several wishes at once are shared.
    """

    frame: Frame = field(repr=False)
    began: float = field(default_factory=time.perf_counter)
    token: CancelToken = field(default_factory=CancelToken)
    load_seconds: float = 0.0
    first_seconds: float = 0.0
    told: float = 0.0
    spent: float = 0.0
    _asked: Asked | None = field(default=None, repr=False)

    @property
    def number(self) -> int:
        """By which the client knows it; 0 for none."""
        return self.frame.number

    @property
    def seconds(self) -> float:
        """Since it arrived."""
        return time.perf_counter() - self.began

    @property
    def device_seconds(self) -> float:
        """Of drawing, without the loading."""
        return max(self.spent - self.load_seconds, 0.0)

    def forgive(self) -> None:
        """What was drawn came to nothing and is drawn again: nobody is charged for it."""
        self.spent = min(self.spent, self.load_seconds)

    def asked(self) -> Asked:
        """Which checkpoint, and what of it. Raises ProtocolError, InvalidParamsError."""
        if self._asked is None:
            self._asked = _read(self.frame)
        return self._asked

    def kept(self) -> list[CheckpointSpec]:
        """Which checkpoints shall be kept warm. Raises ProtocolError."""
        try:
            return [CheckpointSpec(**spec) for spec in self.frame.header["kept"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"A list of checkpoints cannot be read: {error}.") from error


def _read(frame: Frame) -> Asked:
    try:
        source, mask = split_parts(frame.header["parts"], frame.body)
        params = GenerationParams.from_header(frame.header["params"], source=source, mask=mask)
        return CheckpointSpec(**frame.header["spec"]), params
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"A wish cannot be read: {error}.") from error
