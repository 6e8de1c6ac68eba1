"""Shards: expanding names, checking tars, reading samples in order, packing tables, importing ViSU."""
