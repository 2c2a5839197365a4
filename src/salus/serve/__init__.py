"""The guard over HTTP: interface, batching, log, dashboard."""
