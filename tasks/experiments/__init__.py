"""Experiments over many edits: sweeps, comparisons and ablations as tables and figures."""
