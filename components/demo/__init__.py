"""The page in the browser: a photograph and class names in, an overlay with its legend and downloads out."""
