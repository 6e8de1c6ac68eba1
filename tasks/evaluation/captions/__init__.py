"""Figures of captions, with intervals and differences, and how far judges agree."""
