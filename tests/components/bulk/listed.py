"""The labels, and the number of pictures of the list that tests of shards share."""

LABELS = ["zebra", "tiger", "sand"]
PICTURES = 19
"""Three buckets, the last one smaller."""
