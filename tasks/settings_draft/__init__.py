"""A first run.yaml from the shards or tables that somebody has."""
