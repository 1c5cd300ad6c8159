"""Ingress policy: what a site answers, depending on who asks."""
