"""SSH: connections, host keys, authentication and bastions. Only ``transport`` and ``shared`` import cheaply."""
