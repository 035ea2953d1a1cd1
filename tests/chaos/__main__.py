"""`make chaos`: every fault ROUNDS times on a real portal; figures beside their bars, as the last line one JSON object.

`python -m tests.chaos` plays all, `python -m tests.chaos room web` those whose names contain one of the words. What
does not hold is printed when it is found; the portal's log stays in the folder that is named then. `--write` puts the
table into docs/operations.md.
"""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.bench.rows import Row
from tests.servers import Server, postgres, program, redis

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


def say(line: str) -> None:
    """At once: this takes long."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """0 when every bar is met, else 1. With --servers: on PostgreSQL and Redis, which go away and come back."""
    rounds, words = int(os.environ.get("ROUNDS", "20")), [word for word in sys.argv[1:] if word != "--write"]
    with contextlib.ExitStack() as stack:
        rows: list[Row] = []
        if "--servers" in words:
            words.remove("--servers")
            (database, address), (cache, url) = stack.enter_context(postgres()), stack.enter_context(redis())
            os.environ |= {"TESSERA_DATABASE_URL": address, "TESSERA_REDIS_URL": url}
            rows = play_all({"postgres": database, "redis": cache}, rounds, words)
        else:
            rows = play_all({}, rounds, words) + elsewhere(words)
    from tests.bench.report import machine, table, write_page

    if "--write" in sys.argv:
        write_page(PAGE, {"chaos": rows}, machine())
    say("")
    for line in table(rows):
        say(line)
    say(json.dumps({"about": machine(), "rounds": rounds, "rows": [row.to_dict() for row in rows]}))
    return 0 if all(row.holds is not False for row in rows) else 1


def elsewhere(words: list[str]) -> list[Row]:
    """The rows of a run with --servers, in a process of its own, since Django's settings are read once."""
    if program("postgres") is None or program("redis-server") is None:
        return [Row("PostgreSQL and Redis: not played", 0, 1, remark="apt install postgresql redis-server")]
    command, last = [sys.executable, "-m", "tests.chaos", "--servers", *words], ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if ": again " in line or line.startswith("  "):
                say(line.rstrip())
            last = line
    try:
        found = json.loads(last)["rows"]
    except ValueError:
        return [Row("PostgreSQL and Redis: broke off", 0, 1, remark=f"exit code {process.returncode}")]
    return [Row(**{key: value for key, value in row.items() if key != "holds"}) for row in found]


def play_all(servers: Mapping[str, Server], rounds: int, words: list[str]) -> list[Row]:
    """Rows of every fault whose name has one of these words; of all without words."""
    folder = Path(tempfile.mkdtemp(prefix="tessera-chaos-"))
    # Before Django reads its settings: this process shares the portal's database and its key.
    os.environ |= {"TESSERA_DATA": str(folder / "data"), "TESSERA_SECRET_KEY": secrets.token_urlsafe(48)}
    import django

    django.setup()
    from tests.chaos.faults import FAULTS
    from tests.chaos.figures import rows_of
    from tests.chaos.ground import ground, impossible
    from tests.chaos.rounds import play
    from tests.chaos.server_faults import SERVER_FAULTS

    rows = list[Row]()
    chosen = [one for one in (SERVER_FAULTS if servers else FAULTS) if not words or any(w in one.name for w in words)]
    if not chosen:
        return rows
    with ground(folder) as stage:
        stage.servers = servers
        stage.open()
        for fault in chosen:
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
