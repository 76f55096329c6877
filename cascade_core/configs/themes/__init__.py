"""The themes of ablations; `configs/ablations.py` lists them."""
