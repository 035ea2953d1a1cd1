"""What a wish will need on this device, and how to begin with it: from footprints, and from what was met before."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from generation.engines.admission import Question
from generation.engines.errors import DeviceMemoryError, EngineError
from generation.engines.footprint import Footprint, first_plan, footprint_of, learnt_key
from generation.engines.inspection import inspect_checkpoint
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.plan import Plan
from generation.engines.precision import name_for

if TYPE_CHECKING:
    from generation.engines.device import Device

logger = logging.getLogger(__name__)


class Foresight:
    """Of all checkpoints that this room has heard of. Moves nothing, and measures nothing."""

    def __init__(self, device: "Device") -> None:
        self._device = device
        self._precisions: dict[CheckpointSpec, str] = {}
        self._footprints: dict[CheckpointSpec, Footprint] = {}

    def usual(self, spec: CheckpointSpec) -> Plan:
        """In the numbers that were last drawn with, whole."""
        chosen = "" if spec.precision == "auto" else spec.precision
        return self._named(Plan(self._precisions.get(spec, chosen)))

    def remember(self, spec: CheckpointSpec, plan: Plan) -> None:
        """It was drawn with these numbers."""
        self._precisions[spec] = plan.precision

    def first(self, spec: CheckpointSpec, params: GenerationParams, gives: int) -> tuple[Plan, int | None]:
        """The least sparing plan that fits into `gives` bytes, and what it needs, where that is known.

        Raises DeviceMemoryError when it fits in no way.
        """
        size, device = (params.width, params.height), self._device
        plan = replace(self.usual(spec), memory=device.starting_rung(*size))
        footprint = self.footprint(spec)
        if footprint is None:
            return plan, None
        fitting, need = first_plan(footprint, plan, *size, device=device.kind, gives=gives)
        if fitting is None:
            raise self._refuse(spec, footprint, plan, params, gives)
        return fitting, need

    def weights(self, spec: CheckpointSpec, plan: Plan) -> int:
        """Bytes on the device at once; 0 where that is not known."""
        footprint = self.footprint(spec)
        return 0 if footprint is None else footprint.weights(self._named(plan))

    def work(self, spec: CheckpointSpec, plan: Plan, params: GenerationParams) -> int:
        """Bytes beside the weights, for one picture; 0 where that is not known."""
        footprint, named = self.footprint(spec), self._named(plan)
        if footprint is None:
            return 0
        need = footprint.need(named, params.width, params.height, device=self._device.kind)
        return max(need - footprint.weights(named), 0)

    def note(self, spec: CheckpointSpec, plan: Plan, params: GenerationParams, need: int) -> None:
        """It was drawn with so many bytes, or could not be drawn with fewer."""
        footprint = self.footprint(spec)
        if footprint is not None:
            key = learnt_key(plan, params.width, params.height, device=self._device.kind)
            self._footprints[spec] = footprint.learn(key, need)

    def footprint(self, spec: CheckpointSpec) -> Footprint | None:
        """None when the files cannot be read: loading tells better why."""
        if spec not in self._footprints:
            try:
                self._footprints[spec] = footprint_of(spec)
            except (EngineError, TypeError, ValueError, KeyError):
                logger.warning("The memory that %s needs is not known", spec.name, exc_info=True)
                return None
        return self._footprints[spec]

    def _named(self, plan: Plan) -> Plan:
        return replace(plan, precision=name_for(self._device, plan.precision))

    def _refuse(
        self, spec: CheckpointSpec, footprint: Footprint, plan: Plan, params: GenerationParams, gives: int
    ) -> DeviceMemoryError:
        size, sizes = (params.width, params.height), inspect_checkpoint(spec.path).sizes
        kind = self._device.kind
        question = Question(spec.name, footprint, plan, size, sizes, kind, gives, params.capability)
        refusal = question.refusal()
        return DeviceMemoryError(refusal.message, hint=refusal.hint) if refusal else does_not_fit(spec)


def does_not_fit(spec: CheckpointSpec) -> DeviceMemoryError:
    """Not even its weights do."""
    error = DeviceMemoryError(
        f"{spec.name} does not fit into the memory of this device.",
        hint="Use a smaller checkpoint, or free memory on the device.",
    )
    error.loading = True
    return error
