"""Requests to answers, without HTTP: shared by REST and CLI."""
