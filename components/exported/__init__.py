"""Folders of exported graphs: what their callers need to know, and the pictures that calibrate an int8 graph."""
