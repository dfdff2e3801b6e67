"""Row-wise statistics of text: one scorer per published rule set or measure;
`coreset.curation.operators.rules` turns them into keep or drop.
"""
