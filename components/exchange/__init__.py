"""Files of objects that other tools read and write: COCO, Label Studio, CVAT, GeoJSON and JSON lines, a module for each."""
