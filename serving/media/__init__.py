"""Any recording as 16 kHz mono: what it is, its samples in blocks, how loud it is, and where it pauses."""

from serving.media.levels import Levels, measure
from serving.media.pauses import Stretch, cut
from serving.media.read import RATE, Media, NoMedia, Recording, Source, blocks, probe

__all__ = [
    "RATE",
    "Levels",
    "Media",
    "NoMedia",
    "Recording",
    "Source",
    "Stretch",
    "blocks",
    "cut",
    "measure",
    "probe",
]
