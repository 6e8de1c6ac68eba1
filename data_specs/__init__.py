"""What things are: configuration, sample format, Parquet schemas, manifests, errors, presets."""
