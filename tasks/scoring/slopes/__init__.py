"""Signed slopes of a loss on the four choices of a pair: which way each weight would have to go, for the sign filter."""
