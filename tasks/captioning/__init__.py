"""What a captioner says of pictures: captions, judgements of them, and scores against references."""
