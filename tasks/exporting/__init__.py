"""Edited models in the formats of other libraries, with a card that says what they are."""
