"""Curate in this process and kill it with SIGKILL at the nth call of a function. Run by
test_kill.py; ARGS = [source, out, phase, nth, workers].
"""

import os
import signal

PHASES = {
    "table": ("coreset.curation.runtime.checkpoint", "write_table"),
    "atomic": ("coreset.core.store", "write_atomic"),
    "rename": ("pathlib", "Path.replace"),
    "ingest": ("coreset.curation.runtime.ingest", "normal"),
    "score": ("coreset.scorers.length", "Length.__call__"),
    "group": ("toys", "Near.decide"),
    "fit": ("toys", "Common.fit"),
    "select": ("coreset.curation.operators.select", "Select.decide"),
    "decisions": ("coreset.curation.results.decisions", "DecidePartition.__call__"),
    "data": ("coreset.curation.io.write", "_at"),
    "out": ("coreset.curation.run", "write_decisions"),
    "manifest": ("coreset.curation.run", "_manifest"),
}


def arm(phase, nth):
    """Replace the phase's function, wherever it was imported, by one that kills the process at its
    nth call.
    """
    import sys

    module, path = PHASES[phase]
    owner = __import__(module, fromlist=["_"])
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), [0]

    def killing(*args, **kwargs):
        calls[0] += 1
        if calls[0] == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, name, killing)
    for loaded in list(sys.modules.values()):
        if (
            not outer
            and getattr(loaded, "__name__", "").startswith("coreset.")
            and getattr(loaded, name, None) is original
        ):
            setattr(loaded, name, killing)


def run(source, out, phase, nth, page=False):
    """Curate with the recipe of all kinds; page: with its report."""
    from toys import recipe

    from coreset.curation.run import Settings, curate
    from coreset.report.curation import write_curation_report

    if phase:
        arm(phase, nth)
    done = curate(recipe(), source, out, settings=Settings(batch=8, partition_rows=25))
    if page:
        write_curation_report(done.out, done.manifest, done.samples)
