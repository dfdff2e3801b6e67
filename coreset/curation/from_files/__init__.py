"""Selection from columns in files that no machine holds: `coreset.select` with paths."""
