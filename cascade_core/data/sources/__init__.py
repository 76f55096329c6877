"""The official files of public data sets: find, check and unpack them, and convert their label maps."""
