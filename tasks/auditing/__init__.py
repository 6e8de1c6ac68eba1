"""Evidence of one artifact in one file, for who has neither the store nor this program."""
