"""One pass of an encoder over shards: batches in, rows in Parquet out, a file per shard."""
