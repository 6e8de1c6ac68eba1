"""Who says whether a caption is safe: an endpoint, a local classifier, or a list of words."""
