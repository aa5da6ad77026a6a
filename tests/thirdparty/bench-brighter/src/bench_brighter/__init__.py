"""Brightness plugins for benchbench."""
