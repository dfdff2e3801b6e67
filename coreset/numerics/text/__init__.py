"""Characters, tokens, hashes and near duplicates of text."""
