"""Sums of shards as artifacts, joined two by two in a binary tree, whatever is summed."""
