"""From scores and tau to a set of weights."""
