"""The manifest of a step's folder, parts of such folders, and the metadata that Kubeflow shows of them."""
