"""Row-wise statistics of text: one scorer per published rule set or measure; `coreset.pipeline.rules` turns them into keep or drop."""
