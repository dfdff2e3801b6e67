"""Synthetic children of rows: texts by a generator, images by pasting."""
