"""Statistics folded into a scorer's sums while shards are read, and joined in a binary tree."""
