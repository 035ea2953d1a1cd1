"""The operator's door, one file per noun. Operators see states and figures; a look at something private is audited."""

from generation.admin import checkpoints, devices, images, projects, requests

__all__ = ["checkpoints", "devices", "images", "projects", "requests"]
