"""Who is served next, what it costs and how long others wait: plain Python, dataclasses in, a choice out.

No rows, no settings, no tensors, and no clock: whoever asks says what time it is. The scheduler and the simulator use
the very same functions.
"""
