"""Where work is done: in this process, in several on this machine, or on a Ray cluster."""

from salus.engines.base import Done, Engine, Needs, Shared, Task
from salus.engines.options import EngineOptions, open_engine

__all__ = ["Done", "Engine", "EngineOptions", "Needs", "Shared", "Task", "open_engine"]
