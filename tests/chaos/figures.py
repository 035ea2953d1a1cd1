"""What rounds come to: per fault how many were sound, and how long it took until pictures came again."""

from collections.abc import Sequence

from tests.bench.rows import Row
from tests.chaos.faults import Fault
from tests.chaos.rounds import Outcome


def rows_of(fault: Fault, outcomes: Sequence[Outcome]) -> list[Row]:
    """Of one fault's rounds."""
    name, accepted = fault.name, sum(one.accepted for one in outcomes)
    sound = [one for one in outcomes if not one.problems]
    problems = "; ".join(problem for one in outcomes for problem in one.problems)[:300]
    remark = problems or f"{accepted} requests, each ended once, nobody and nothing left behind"
    slowest = max(one.again for one in outcomes)
    typical = sorted(one.again for one in outcomes)[len(outcomes) // 2]
    settled = max(one.settled for one in outcomes)
    return [
        Row(f"{name}: sound rounds", 100 * len(sound) / len(outcomes), 100, unit="%", remark=remark),
        Row(
            f"{name}: until pictures come again",
            slowest,
            fault.bound,
            "most",
            "s",
            f"the slowest of {len(outcomes)}; half within {typical:g} s, all requests ended within {settled:g} s"
            + (f"; {fault.remark}" if fault.remark else ""),
        ),
    ]
