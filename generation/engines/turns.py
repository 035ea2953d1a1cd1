"""Parts of an engine that take turns on the device: each is woken right before it works, and the one before leaves.

Every module that owns weights asks, so it does not matter by which door a network is entered (a picture decoder is
seldom entered by `forward`). One group is on the device at a time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

Move = Callable[[Sequence[torch.nn.Module]], None]
WORTH = 64  # a layer is a group of its own when it is at least this part of its network


@dataclass(slots=True, eq=False)
class Group:
    """Modules that own weights and are on the device together."""

    name: str
    modules: list[torch.nn.Module] = field(default_factory=list)


class Turns:
    """Whose turn it is. `wake` and `sleep` move the weights of modules."""

    def __init__(self, groups: Sequence[Group], wake: Move, sleep: Move) -> None:
        self.groups = groups
        self.taken = 0  # how often somebody was woken
        self._wake, self._sleep = wake, sleep
        self._current: Group | None = None
        self._hooks = [
            module.register_forward_pre_hook(self._ask(group)) for group in groups for module in group.modules
        ]

    def forget(self) -> None:
        """Everybody sleeps."""
        self._current = None

    def end(self) -> None:
        """No turns any more; who is awake stays so."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._current = None

    def _ask(self, group: Group) -> Callable[[torch.nn.Module, Any], None]:
        def before(module: torch.nn.Module, arguments: Any) -> None:
            if self._current is not group:
                self._take(group)

        return before

    def _take(self, group: Group) -> None:
        leaving, self._current = self._current, None
        if leaving is not None:
            self._sleep(leaving.modules)
        self.taken += 1
        self._wake(group.modules)
        self._current = group


def component_groups(parts: Mapping[str, Sequence[torch.nn.Module]]) -> list[Group]:
    """Each part as a whole."""
    return [Group(name, list(_owners(modules))) for name, modules in parts.items()]


def layer_groups(parts: Mapping[str, Sequence[torch.nn.Module]]) -> list[Group]:
    """Each element of a list of layers, the innermost that is worth it, and what is left of its part."""
    groups = []
    for name, modules in parts.items():
        least = sum(map(_weight, modules)) // WORTH
        groups += [group for group in _split(name, modules, least) if group.modules]
    return groups


def _split(name: str, modules: Sequence[torch.nn.Module], least: int) -> Iterator[Group]:
    rest = Group(name)
    waiting = [(name, module) for module in modules]
    while waiting:
        place, module = waiting.pop()
        if _own(module):
            rest.modules.append(module)
        for key, child in module.named_children():
            below = f"{place}.{key}"
            if isinstance(module, torch.nn.ModuleList) and _weight(child) > least:
                yield from _split(below, [child], least)
            else:
                waiting.append((below, child))
    yield rest


def _owners(modules: Sequence[torch.nn.Module]) -> Iterator[torch.nn.Module]:
    found = {id(one): one for module in modules for one in module.modules() if _own(one)}
    yield from found.values()


def _own(module: torch.nn.Module) -> bool:
    return bool(module._parameters) or bool(module._buffers)


def _weight(module: torch.nn.Module) -> int:
    return sum(tensor.nbytes for tensor in [*module.parameters(), *module.buffers()])
