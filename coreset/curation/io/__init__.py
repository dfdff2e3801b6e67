"""Reading and writing of rows: files, formats, WebDataset shards, reference texts."""
