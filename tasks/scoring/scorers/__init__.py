"""The ways to score weights: a file each, and one registry."""
