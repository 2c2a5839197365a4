"""The interface of a served guard: its messages, the HTTP client, endpoints as models."""
