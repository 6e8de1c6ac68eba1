"""Artifacts compared with their manifests, what they were made of, the records of runs and the environment."""
