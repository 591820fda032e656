"""What crosses a topic: records, their released Avro schemas, and the codec between bytes and records.

Times are event times in whole milliseconds since 1970-01-01T00:00:00Z, everywhere. An *Event* is one validated
record from an input topic; a *Reject* is a record that could not become one. Nothing here knows a detector,
a dataflow, a clock or the environment.
"""
