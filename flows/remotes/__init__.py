"""What a store shares with its remotes, during runs and by commands."""
