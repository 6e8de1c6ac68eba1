"""What leaves a store: files that can be made again, artifacts whole, debris of killed processes; never what is in use."""
