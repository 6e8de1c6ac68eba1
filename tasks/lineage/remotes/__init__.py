"""Artifacts that several stores share, on S3 or wherever else fsspec reaches."""
