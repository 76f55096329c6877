"""Files of objects that other tools read and write: COCO, Label Studio, CVAT and GeoJSON, a module for each."""
