"""Any recording as 16 kHz mono: what it is, its samples in blocks, how loud it is, and where it pauses."""

from serving.media.decode import Media, NoMedia
from serving.media.levels import RATE, Floats
from serving.media.pauses import Stretch, cut
from serving.media.read import Levels, Recording, Source, blocks, length, measure, probe
from serving.media.sandbox import Leash, Stopped, start

__all__ = [
    "RATE",
    "Floats",
    "Leash",
    "Levels",
    "Media",
    "NoMedia",
    "Recording",
    "Source",
    "Stopped",
    "Stretch",
    "blocks",
    "cut",
    "length",
    "measure",
    "probe",
    "start",
]
