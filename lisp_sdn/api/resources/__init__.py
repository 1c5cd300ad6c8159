"""One file per resource: its models, its handlers, its routes."""
