"""Evaluation: inference on whole pictures, counts, scores and their report."""
