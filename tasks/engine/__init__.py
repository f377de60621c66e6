"""Talking to models: one protocol, OpenAI-compatible HTTP, whoever runs the server."""
