"""The contract between devices and server: topics, messages, states, manifest. Pure: no I/O and no clock."""
