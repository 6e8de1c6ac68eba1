"""What a store's artifacts and runs are, told as events of OpenLineage to whoever collects those."""
