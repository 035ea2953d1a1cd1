"""The fine print of Metal (torch.mps), each with its source. Nothing of it could be run where it was written.

What tests check here, with a stand-in for `torch.mps`, is which calls are made in which order, not what Metal does.
"""

import gc

import torch

LARGEST_ARRAY = 4 * 1024**3
"""Bytes. A larger NDArray aborts the process by an assertion that nobody can catch (pytorch issues 149261, 143859;
diffusers' page on mps), so attention whose scores would be larger must be sliced before it runs."""

MEMORY_FRACTION = 1.0
"""Of recommended_max_memory. The default of 1.7 lies above the RAM of many machines: they swap for minutes instead of
failing, so nothing could step down (PyTorch's page on the environment variables of mps)."""


def prepare() -> None:
    """Once, before the first weights: memory that runs out shall be an error, not a swapping machine."""
    torch.mps.set_per_process_memory_fraction(MEMORY_FRACTION)


def confine(part: float) -> None:
    """Of recommended_max_memory, never more than is recommended."""
    torch.mps.set_per_process_memory_fraction(min(part, MEMORY_FRACTION))


def purge() -> None:
    """Give memory back. In this order: references are gone, garbage, the cache, then wait until it has happened.

    With less than all four a gigabyte was seen to stay (1,050 MB against 2.7 MB, research of this house). The cache of
    graphs, which grows with every new shape, is not given back by this: recycling the process is the cure.
    """
    gc.collect()
    torch.mps.empty_cache()
    torch.mps.synchronize()


def memory_used() -> int:
    """Bytes that the driver gave this process, caches included; current_allocated_memory counts tensors alone."""
    return int(torch.mps.driver_allocated_memory())


def memory_total() -> int:
    """Bytes that Metal recommends to stay below: on unified memory less than the machine has."""
    return int(torch.mps.recommended_max_memory())


def must_slice(width: int, height: int, *, latent: int = 8, heads: int = 8, rows: int = 2, item: int = 4) -> bool:
    """Whether attention over all latent places of a picture may need an array that Metal aborts for.

    Guessed high: every place with every other, of the usual heads, with guidance, in 4 bytes.
    """
    places = (width // latent) * (height // latent)
    return places * places * heads * rows * item > LARGEST_ARRAY
