"""The command line: `uwm`."""
