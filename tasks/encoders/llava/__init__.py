"""Checkpoints of LLaVA and its kind, of which only the vision encoder is ever read."""
