"""What the comparison of two revisions says of their tables."""

from __future__ import annotations

from tests.bench.versus import compared, least, stages

PRINTED = """log: ubuntu_irc/events.csv.gz, policy ubuntu_irc, learning on, one process
| stage | CPU us/event | events/CPU s |
|---|---|---|
| read | 4.00 | 250,000 |
| learn logistic | 3.60 | 277,742 |
| replay: all | 50.00 | 20,000 |

575,963 events, 575,963 scored as decision points; wall 28.9 s
"""
EARLIER = """log: ubuntu_irc/events.csv.gz, policy ubuntu_irc, learning on, one process
stage             CPU us/event    events/s
read                      4.00     250,000
learn logistic            3.60     277,742
replay: all              50.00      20,000
575,963 events, 575,963 scored as decision points; wall 28.9 s
"""


def test_a_stage_that_got_slower_is_said_to_and_noise_is_not() -> None:
    """More than a twentieth; stages that are new or gone are told as such."""
    base = stages(PRINTED)
    assert base == stages(EARLIER) == {"read": 4.0, "learn logistic": 3.6, "replay: all": 50.0}
    now = least([{"read": 4.5, "replay: all": 51.0, "thaw": 1.0}, {"read": 4.4, "replay: all": 52.0, "thaw": 1.0}])
    assert compared(base, now)[2:] == [
        "| read | 4.00 | 4.40 | 1.10 | SLOWER |",
        "| replay: all | 50.00 | 51.00 | 1.02 |  |",
        "| thaw | | 1.00 | | new |",
        "| learn logistic | 3.60 | | | gone |",
    ]
