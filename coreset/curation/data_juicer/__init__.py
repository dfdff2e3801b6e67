"""Our operators inside Data-Juicer: every scorer and rule of the registry as a Filter, what needs
all rows at once as a global Pipeline operator.

`pip install 'coreset-lightning[juicer]'` is all: `dj-process` finds them through the entry-point
group `data_juicer.ops`, as `coreset_<name>`.
"""
