"""SafeGround, retrieval and zero-shot classification, from embeddings."""
