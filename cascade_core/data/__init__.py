"""Data sets on disk: official files, label maps, pictures, and the checked index of them."""
