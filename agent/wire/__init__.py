"""The contract between devices and server: topics, messages, states, manifest. Pure: no I/O, no clock, no globals that change."""
