"""Which files of a store can be dropped to make room."""

# Beginnings of kinds whose files can be made again, in the order in which they are worth it.
DROPPED_KINDS = {"model": "model", "embeddings": "embeddings.", "activations": "activations."}
