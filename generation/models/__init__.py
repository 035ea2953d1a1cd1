"""The rows of the workshop, one file per noun. Changed by generation.services only."""

from generation.models.checkpoint import Checkpoint
from generation.models.device import Device, DeviceCommand
from generation.models.image import Image, ImageCodes, Upload
from generation.models.pace import Pace
from generation.models.project import Membership, Project
from generation.models.quota import ProjectQuota
from generation.models.request import GenerationRequest
from generation.models.turn import Turn
from generation.models.usage import UsageEntry

__all__ = [
    "Checkpoint",
    "Device",
    "DeviceCommand",
    "GenerationRequest",
    "Image",
    "ImageCodes",
    "Membership",
    "Pace",
    "Project",
    "ProjectQuota",
    "Turn",
    "Upload",
    "UsageEntry",
]
