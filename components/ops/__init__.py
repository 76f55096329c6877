"""Kubeflow components that run the steps; every body only imports and calls.

The components in `stated.py` follow from the steps' statements. The others join several steps in one pod, gather the
artifacts of a loop, or handle the pipeline's own run. A step's folder travels as an artifact. Data sets and CLIP
weights are large: they stay in place, and steps get their addresses. Lists and dictionaries travel as JSON text,
because kfp would turn the numbers in them into floats. kfp copies a body's source, so a body imports what it uses.
"""
