"""What is done to a run while feeds are loaded beside each other, each in its thread."""

from __future__ import annotations

from functools import partial

from .results import Result, result_of, stage_of
from .victim import Plan


def killed_while_loading(every: int = 1, first: int = 1) -> Result:
    """SIGKILL at every n-th step of two feeds that are loaded at once."""
    with stage_of(second=True) as stage:
        stage.next_generation()
        listed = stage.root.parent / "steps"
        stage.run(Plan(list_steps=str(listed), at_once=True))
        stage.sees(stage.generation, "feeds loaded at once")
        steps = listed.read_text(encoding="utf-8").splitlines()
        if not any(step.endswith(" in load") for step in steps):
            stage.wrong.append("nothing was loaded at once")
        ended = []
        for number in range(first, len(steps) + 1, every):
            killed = partial(stage.run, Plan(die_at=number, at_once=True))
            ended.append(stage.suffer(f"SIGKILL at step {number} of loading", killed, codes=(-9,)))
        return result_of(f"SIGKILL at {len(steps)} steps of feeds that load at once", stage, ended)
