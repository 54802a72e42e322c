"""A light device: the real link, update machine and disk of an agent, many to a process, and no inference."""
