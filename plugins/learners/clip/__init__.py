"""Learners on a frozen CLIP that see few images or none."""
