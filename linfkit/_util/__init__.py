"""Helpers that the whole package shares: argument checks, files, devices, processes, text."""
