"""The monitor of callers: tells those who search for a hole in a guard from those who send what life brings."""

from salus.detectors.queries.base import Monitor, Stream, Suspicion, interleaved
from salus.detectors.queries.blacklight import Blacklight
from salus.detectors.queries.lifelike import Lifelike
from salus.detectors.queries.memory import InProcess, Memory, News, Past
from salus.detectors.queries.nearest import Nearest
from salus.detectors.queries.perceptual import Perceptual
from salus.detectors.queries.policy import POLICIES, LabelsOnly, Policy, Refuse, Review, SlowDown
from salus.detectors.queries.registry import MONITORS, load_monitor, save_monitor
from salus.detectors.queries.updates import Updates

__all__ = [
    "MONITORS",
    "POLICIES",
    "Blacklight",
    "InProcess",
    "LabelsOnly",
    "Lifelike",
    "Memory",
    "Monitor",
    "Nearest",
    "News",
    "Past",
    "Perceptual",
    "Policy",
    "Refuse",
    "Review",
    "SlowDown",
    "Stream",
    "Suspicion",
    "Updates",
    "interleaved",
    "load_monitor",
    "save_monitor",
]
