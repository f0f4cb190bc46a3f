"""Everything that talks to a host: facts, scripts, sessions and the transports below them."""
