"""How the multimodal starter is made: `python -m generation.training.multimodal --minutes 90`.

A small Janus whose picture codes are mosaic tiles. Loads torch, so nothing that serves may import it.
"""
