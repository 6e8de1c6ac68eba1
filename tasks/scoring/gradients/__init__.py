"""Scores from gradients: the loss on stored embeddings first, then one encoder's backward pass in small batches."""
