"""The report of a replay: one HTML page that stands alone, written from the files a replay left behind.

`read` turns the files into plain values, `ranking` says who is most at risk, `pictures` and `timelines` draw, `page`
puts words and tables around them. Nothing here reads a clock, and the same files give the same bytes. User ids are
hostile input: they are made visible (`dataflows.runtime.escaping.visible`), never drawn into a picture, and escaped by
the template.
"""

from dataflows.reports.ranking import strongest_warnings
from dataflows.reports.replay_page import write_report

__all__ = ["strongest_warnings", "write_report"]
