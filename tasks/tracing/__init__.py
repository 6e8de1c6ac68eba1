"""Answers to where a number comes from: an index of all manifests, trees, differences, what was made from what, and SQL."""
