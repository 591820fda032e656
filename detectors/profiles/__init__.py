"""Users and channels: the state stored for each, and its update by an event."""
