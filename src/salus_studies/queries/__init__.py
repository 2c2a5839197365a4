"""Those who attack a guard by asking it, and the monitors that watch for them, on heartbeats."""
