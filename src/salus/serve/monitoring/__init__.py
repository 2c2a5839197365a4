"""How a service's guards do: rates, drift, alarms; counted, never stored input by input."""

from salus.serve.monitoring.alarms import Watch
from salus.serve.monitoring.look import Look, look_at
from salus.serve.monitoring.recorder import Recorder
from salus.serve.monitoring.webhook import Webhook

__all__ = ["Look", "Recorder", "Watch", "Webhook", "look_at"]
