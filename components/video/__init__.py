"""Videos: frames labelled in batches, an overlay video, and a table with a row per frame."""
