"""Embeddings of everything that one encoder reads: evaluation pairs, labelled images, calibration pairs."""
