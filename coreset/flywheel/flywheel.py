"""The flywheel: a folder of versions and turns, opened, turned and shown."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from coreset.core.files import read_json
from coreset.core.learner import Learner
from coreset.core.locks import locked
from coreset.core.overrules import read_overrules
from coreset.core.store import Store, to_json, write_atomic
from coreset.core.strategy import Oracle
from coreset.flywheel.assemble import Assemble, arm
from coreset.flywheel.choose import Choose
from coreset.flywheel.contract import check_artifact
from coreset.flywheel.data import FlywheelData
from coreset.flywheel.decide import Decide, confirmed
from coreset.flywheel.diagnose import Diagnose
from coreset.flywheel.freeze import Freeze
from coreset.flywheel.gate import Gate
from coreset.flywheel.label import Label
from coreset.flywheel.leaks import read_allowed
from coreset.flywheel.measure import Measure, Wrong
from coreset.flywheel.mine import Mine
from coreset.flywheel.observe import Observe, observation_files
from coreset.flywheel.overruled import Overruled
from coreset.flywheel.retrain import Retrain
from coreset.flywheel.stage import STAGES, Artifact, Stage, Turn, settings_of
from coreset.flywheel.synthesize import NoSynthesis
from coreset.flywheel.tables import table_bytes
from coreset.flywheel.trainings import Trainings
from coreset.flywheel.versions import Version, history
from coreset.flywheel.watch import Watch

STATE, CONFIG, OVERRULES = "state.json", "flywheel.json", "overrules.jsonl"


def check_begun(folder: str | Path) -> None:
    """Raise FileNotFoundError where a folder holds no flywheel."""
    if not (Path(folder) / STATE).exists():
        raise FileNotFoundError(f"{folder}: no flywheel there; begin one with init")


def check_free(folder: str | Path) -> None:
    """Raise ValueError where a folder holds a flywheel."""
    if (Path(folder) / STATE).exists():
        raise ValueError(f"{folder}: holds a flywheel already; use another folder")


def default_stages() -> dict[str, Stage]:
    """Return the stages of a turn by name, in order."""
    parts = (
        Observe(), Diagnose(), Mine(), Choose(), Label(), NoSynthesis(), Assemble(), Retrain(),
        Gate(), Decide(), Watch(),
    )  # fmt: skip
    return dict(zip(STAGES, parts, strict=True))


class Flywheel:
    """One flywheel in a folder.

    data, learner, oracle: the examples, a training over the same examples, and where labels come
    from; measure: how wrong a model is on an example. stages: stages by name that take the place of
    the default ones. seeds: of every comparison, three at least. learner_name: what the learner
    is, kept with the trainings: give another name when its settings change. allowed: file of ids
    that are no leaks. log: called with a line of words.

    Files: `flywheel.json` (frozen facts), `state.json` (version in force, turns done, stopped or
    not), `versions/`, `turns/001/<stage>.json` with tables beside, `trainings/` (signals on the
    frozen examples, may be deleted).
    """

    def __init__(
        self,
        folder: str | Path,
        data: FlywheelData,
        learner: Learner,
        oracle: Oracle,
        *,
        measure: Measure | None = None,
        stages: Mapping[str, Stage] | None = None,
        seeds: Sequence[int] = (0, 1, 2),
        seed: int = 0,
        learner_name: str = "learner",
        allowed: str | Path | None = None,
        log: Any = None,
    ) -> None:
        self.folder = Path(folder)
        self.data, self.learner, self.oracle = data, learner, oracle
        self.measure: Measure = Wrong() if measure is None else measure
        unknown = sorted(set(stages or {}) - set(STAGES))
        if unknown:
            raise ValueError(f"stages: expected {', '.join(STAGES)}, got {', '.join(unknown)}")
        self.stages = {**default_stages(), **(stages or {})}
        for name, stage in self.stages.items():
            if not isinstance(stage, Stage):
                raise TypeError(f"stages: {name} has no method run: {type(stage).__name__}")
        self.seeds, self.seed = tuple(int(s) for s in seeds), int(seed)
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: expected different ones, got {list(self.seeds)}")
        retrain = self.stages["retrain"]
        if isinstance(retrain, Retrain):
            retrain.check(self.seeds)
        self.allowed = read_allowed(allowed)
        self.log = log or (lambda line: None)
        store = Store(self.folder / "trainings")
        self.trainings = Trainings(learner, data, self.measure, store, learner_name)

    @property
    def state(self) -> dict[str, Any]:
        """Version in force, turns done and why it stopped.
        Raises FileNotFoundError without init.
        """
        check_begun(self.folder)
        return dict(read_json(self.folder / STATE))

    @property
    def version(self) -> Version:
        """The version in force."""
        return Version.load(self.folder / "versions", self.state["version"])

    def init(self, freeze: Freeze | None = None) -> Version:
        """Freeze version 1, test set, slices and canaries; return the version.

        Raises ValueError when the folder holds a flywheel, and for leaks between training and
        frozen examples (`leaks.parquet` says which).
        """
        with locked(self.folder):
            check_free(self.folder)
            freeze = freeze or Freeze()
            frozen, tables, version = freeze.run(self.data, self.folder, self.allowed, self.seed)
            for name, columns in tables.items():
                write_atomic(self.folder / f"{name}.parquet", table_bytes(columns))
            version.save(self.folder / "versions")
            facts = {
                **frozen,
                "measure": settings_of(self.measure),
                "word": self.measure.word,
                "percent": self.measure.percent,
                "learner": self.trainings.name,
                "seeds": list(self.seeds),
                "seed": self.seed,
            }
            write_atomic(self.folder / CONFIG, to_json(facts, indent=1))
            state = {"version": version.name, "turns": 0, "stopped": "", "turn": None}
            write_atomic(self.folder / STATE, to_json(state, indent=1))
        self.log(f"{version.name}: {len(version)} rows, {len(frozen['slices'])} slices frozen")
        return version

    def turn(
        self,
        budget: float,
        observations: str | Path | Sequence[str | Path] = (),
        *,
        version: str | None = None,
        reopen: bool = False,
        now: str | None = None,
        overrules: str | Path | None = None,
    ) -> dict[str, Any]:
        """Do the next turn, or go on with the one that was begun; return the facts of its stages.

        budget: cost that may be spent on labels. observations: Parquet files or patterns such as
        `prod/*.parquet` (see `coreset.flywheel.observe.Observe`). version: name or key of the
        version in force, as the caller knows it; another one raises ValueError. reopen: turn a
        flywheel that has stopped; observations do so too. now: ISO time at which the turn is
        opened (default: the clock), kept for a turn that goes on. overrules: file of people's
        decisions (see `coreset.core.overrules`), which hold in this turn's candidate. Raises
        ValueError while another process turns it.
        """
        check_begun(self.folder)
        with locked(self.folder):
            state, current = self.state, self.version
            if version is not None and version not in (current.name, current.key):
                raise ValueError(f"version: {version} is not the latest, that is {current.name}")
            if not budget > 0 or budget == float("inf"):
                raise ValueError(f"budget: expected a finite cost above 0, got {budget}")
            if state["stopped"] and not (reopen or observations):
                raise ValueError(
                    f"the flywheel has stopped: {state['stopped']}; turn it with reopen=true"
                )
            self._check_frozen()
            number = state["turns"] + 1
            files = observation_files(observations)
            turn = self._open(number, current, budget, files, now, overrules)
            facts = {}
            before = hashlib.sha256((turn.folder / "turn.json").read_bytes()).hexdigest()
            for name in STAGES:
                before = self._stage(turn, name, before)
                facts[name] = turn.facts(name)
            return self._close(turn, facts, state)

    def history(self, name: str) -> list[dict[str, Any]]:
        """Return all that happened to an id, version by version: why it is in, or is not."""
        return history(self.folder / "versions", name)

    def show(self) -> Path:
        """Write the page `report.html` of the flywheel, and `rows.parquet` for `coreset-explore`;
        return the path of the page.
        """
        from coreset.flywheel.explore import write_examples
        from coreset.flywheel.page import write_page

        write_examples(self.folder, self.data)
        return write_page(self.folder, self.data)

    def _check_frozen(self) -> None:
        """Raise ValueError when the frozen examples or the settings are others than at init."""
        config = read_json(self.folder / CONFIG)
        mine = Freeze.fingerprints(self.data)
        changed = [role for role, value in config["fingerprints"].items() if mine[role] != value]
        if changed:
            raise ValueError(
                f"data: the examples of {', '.join(changed)} are not those that were frozen at init"
            )
        for key, value in (
            ("measure", settings_of(self.measure)),
            ("learner", self.trainings.name),
            ("seeds", list(self.seeds)),
            ("seed", self.seed),
        ):
            if config[key] != value:
                raise ValueError(f"{key}: frozen as {config[key]}, got {value}")

    def _open(
        self,
        number: int,
        version: Version,
        budget: float,
        observations: Sequence[Path],
        now: str | None,
        overrules: str | Path | None,
    ) -> Turn:
        """Return the turn, and write what it was begun with or compare it with that."""
        folder = self.folder / "turns" / f"{number:03d}"
        hashes = sorted([p.name, hashlib.sha256(p.read_bytes()).hexdigest()] for p in observations)
        given = b"" if overrules is None else Path(overrules).read_bytes()
        overruled = Overruled()
        if overrules is not None:
            overruled = Overruled.of(read_overrules(overrules), self.data)
        begun = {
            "number": number,
            "version": version.name,
            "budget": float(budget),
            "observations": hashes,
            "pool": self.data.fingerprint("pool"),
            "allowed": sorted(self.allowed),
            "overrules": hashlib.sha256(given).hexdigest() if given else None,
        }
        path = folder / "turn.json"
        old = read_json(path) if path.exists() else {}
        other = [k for k, v in begun.items() if old.get(k) != v]
        if old and other and (folder / f"{STAGES[0]}.json").exists():
            raise ValueError(
                f"turn {number} was begun with another {other[0]}: {old.get(other[0])!r}, not"
                f" {begun[other[0]]!r}; go on with the same, or remove {folder}"
            )
        if old and not other:
            now = old["now"]
        else:
            now = now or datetime.now(UTC).isoformat(timespec="seconds")
            (folder / OVERRULES).unlink(missing_ok=True)
            if given:
                write_atomic(folder / OVERRULES, given)
            write_atomic(path, to_json({**begun, "now": now}, indent=1))
        earlier = [
            read_json(self.folder / "turns" / f"{i:03d}" / "turn_done.json")
            for i in range(1, number)
        ]
        known: dict[str, int] = {}
        for facts in earlier:
            known |= {str(k): int(v) for k, v in facts["labels"].items()}
        return Turn(
            number, self.data, self.measure, self.oracle, version, self.trainings, folder,
            float(budget), self.seeds, self.seed, read_json(self.folder / CONFIG)["slices"],
            earlier, [str(p) for p in observations], now, self.allowed, known,
            overruled,
        )  # fmt: skip

    def _stage(self, turn: Turn, name: str, before: str) -> str:
        """Run a stage unless its file is there; return the hash of the file, on which the next
        one's depends.
        """
        path = turn.folder / f"{name}.json"
        about = {**settings_of(self.stages[name]), "before": before}
        if path.exists():
            old = read_json(path)
            if {k: old.get(k) for k in about} != about:
                raise ValueError(
                    f"turn {turn.number}: its stage {name} was done with {old['class']}"
                    f" {old['settings']}, not {about['class']} {about['settings']}; go on with the"
                    f" same, or remove {turn.folder}"
                )
        else:
            self.log(f"turn {turn.number}: {name}")
            artifact: Artifact = self.stages[name].run(turn)
            check_artifact(name, self.stages[name], artifact, turn.slices)
            hashes = {}
            for table, columns in artifact.tables.items():
                data = table_bytes(columns)
                hashes[table] = hashlib.sha256(data).hexdigest()
                write_atomic(turn.folder / f"{name}-{table}.parquet", data)
            whole = {**about, "tables": hashes, "facts": dict(artifact.facts)}
            write_atomic(path, to_json(whole, indent=1))
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def _close(self, turn: Turn, facts: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        """Write the new version where the gate lets it, then the state, last."""
        gate, decision = facts["gate"], facts["decide"]
        version = turn.version
        if gate["promoted"]:
            version = arm(turn, "candidate")
            version.save(self.folder / "versions", turn.version)
        batch = turn.table("label", "batch")
        at = turn.trainings.of_role("dev")
        wrong = turn.trainings.errors(turn.version, turn.seeds)[:, at].min(axis=0) > 0
        done = {
            "number": turn.number,
            "version": version.name,
            "promoted": gate["promoted"],
            "stop": decision["stop"],
            "tied_in_a_row": decision["tied_in_a_row"],
            "cost": facts["label"]["cost"],
            "confirmed": confirmed(turn),
            "labels": {
                str(i): int(v)
                for i, v, s in zip(batch["id"], batch["label"], batch["status"], strict=True)
                if not s
            },
            "failures": self.data.ids[turn.trainings.rows[at][wrong]].tolist(),
        }
        write_atomic(turn.folder / "turn_done.json", to_json(done, indent=1))
        after = {
            "version": version.name,
            "turns": turn.number,
            "stopped": decision["stop"],
            "turn": f"{turn.number:03d}",
        }
        write_atomic(self.folder / STATE, to_json(after, indent=1))
        self.log(
            f"turn {turn.number}: {'promoted' if gate['promoted'] else 'kept'} {version.name};"
            f" {decision['stop'] or 'next budget ' + format(decision['next_budget'], 'g')}"
        )
        return facts
