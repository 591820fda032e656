"""The report of a replay: one self-contained HTML page, made from the replay's output files.

`read` turns the files into plain values, `ranking` selects the users most at risk, `replay_charts` and `timelines`
draw, and `replay_page` adds text and tables. Nothing here reads a clock, and the same files give the same bytes. User
ids are untrusted input: they are made visible (`dataflows.runtime.escaping.visible`), never drawn into a picture, and
escaped by the template.
"""

from dataflows.reports.ranking import strongest_warnings
from dataflows.reports.replay_page import write_report

__all__ = ["strongest_warnings", "write_report"]
