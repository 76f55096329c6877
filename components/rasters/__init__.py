"""Rasters larger than memory, such as orthomosaics: read by windows, labelled block by block, written as GeoTIFF."""
