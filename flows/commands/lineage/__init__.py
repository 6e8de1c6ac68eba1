"""`uwm lineage`: where a number comes from."""
