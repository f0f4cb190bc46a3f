"""The communication with hosts: facts, scripts, sessions, and the transports below them."""
