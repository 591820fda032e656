"""The steps of the spine as Bytewax operators, one a file: each turns a detector's plain logic into a stream.

An exception in any step ends a Bytewax execution, so what can go wrong with one event is caught for that event and
leaves as a Reject. States are snapshot as versioned bytes of plain data, never as our classes.
"""

from dataflows.operators.context import context
from dataflows.operators.decode import decode
from dataflows.operators.deliver import deliver
from dataflows.operators.learn import learn
from dataflows.operators.profile import profile
from dataflows.operators.score import score

__all__ = ["context", "decode", "deliver", "learn", "profile", "score"]
