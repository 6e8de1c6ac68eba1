"""`uwm store`: looking after a store."""
