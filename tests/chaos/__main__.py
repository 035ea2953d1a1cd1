"""`make chaos`: every fault ROUNDS times on a real portal; figures beside their bars, as the last line one JSON object.

`python -m tests.chaos` plays all, `python -m tests.chaos room web` those whose names contain one of the words. What
does not hold is printed when it is found; the portal's log stays in the folder that is named then.
"""

import json
import os
import secrets
import sys
import tempfile
from pathlib import Path

from tests.bench.rows import Row


def say(line: str) -> None:
    """At once: this takes long."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """0 when every bar is met, else 1."""
    rounds, words = int(os.environ.get("ROUNDS", "20")), sys.argv[1:]
    folder = Path(tempfile.mkdtemp(prefix="tessera-chaos-"))
    # Before Django reads its settings: this process shares the portal's database and its key.
    os.environ |= {"TESSERA_DATA": str(folder / "data"), "TESSERA_SECRET_KEY": secrets.token_urlsafe(48)}
    import django

    django.setup()
    rows = play_all(folder, rounds, words)
    from tests.bench.report import machine, table

    say("")
    for line in table(rows):
        say(line)
    say(json.dumps({"about": machine(), "rounds": rounds, "rows": [row.to_dict() for row in rows]}))
    return 0 if all(row.holds is not False for row in rows) else 1


def play_all(folder: Path, rounds: int, words: list[str]) -> list[Row]:
    """Rows of every fault whose name has one of these words; of all without words."""
    from tests.chaos.faults import FAULTS
    from tests.chaos.figures import rows_of
    from tests.chaos.ground import ground, impossible
    from tests.chaos.rounds import play

    rows = list[Row]()
    with ground(folder) as stage:
        stage.open()
        for fault in FAULTS:
            if words and not any(word in fault.name for word in words):
                continue
            if reason := impossible(stage, fault):
                say(f"{fault.name} NOT PLAYED: {reason}")
                rows.append(Row(f"{fault.name}: not played", 0, 1, remark=reason))
                continue
            outcomes = []
            for number in range(rounds):
                outcomes.append(play(stage, fault))
                say(f"{fault.name} {number + 1}/{rounds}: again {outcomes[-1].again} s, all {outcomes[-1].settled} s")
                for problem in outcomes[-1].problems:
                    say(f"  {problem} (log: {stage.portal.log})")
            rows += rows_of(fault, outcomes)
    return rows


if __name__ == "__main__":
    sys.exit(main())
