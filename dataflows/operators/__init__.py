"""The steps of the dataflow as Bytewax operators, one per file: each applies a detector's plain logic to a stream.

An exception in any step ends a Bytewax execution, so the errors of a single event are caught for that event and emitted
as a Reject. States are snapshot as versioned bytes of plain data, never as instances of our classes.
"""

from dataflows.operators.context import context
from dataflows.operators.decode import decode
from dataflows.operators.deliver import deliver
from dataflows.operators.learn import learn
from dataflows.operators.profile import profile
from dataflows.operators.score import score

__all__ = ["context", "decode", "deliver", "learn", "profile", "score"]
