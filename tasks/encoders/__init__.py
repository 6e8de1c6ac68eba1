"""Models: loading, the towers, target layers, valid tokens, precision."""
