"""An edit in the vision tower of a LLaVA's checkpoint, file by file, without loading its language model."""
