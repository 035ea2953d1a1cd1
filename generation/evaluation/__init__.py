"""How well the starters do what they are for: unseen prompts through the engine room, judged without any weights.

No torch and no Django in here; what draws is the room, what judges is `generation.training.world`.
"""
