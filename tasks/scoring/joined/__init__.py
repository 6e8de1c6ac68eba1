"""Sums of shards as artifacts, joined in a binary tree, whatever is summed."""
