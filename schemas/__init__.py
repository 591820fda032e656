"""Records that cross a topic, their released Avro schemas, and the codec between bytes and records.

All times are event times in whole milliseconds since 1970-01-01T00:00:00Z. An *Event* is one validated record of an
input topic. A *Reject* is a record that could not become one. The package depends on no detector and no dataflow, and
reads neither a clock nor the environment.
"""
