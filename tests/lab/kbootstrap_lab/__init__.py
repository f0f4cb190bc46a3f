"""Local labs: hosts to try kbootstrap on without owning any.

A lab has a name and a backend: ``simulated`` (private roots behind a real SSH server, docs/simulated-fleet.md),
``containers`` (systemd and real kubeadm) or ``vm`` (that, and a real kernel; docs/lab.md). ``backend.py`` says what a
backend is.
A lab keeps all its files in one directory, so a lab that crashed can still be found and removed.
"""

from kbootstrap_lab.errors import LabError
from kbootstrap_lab.state import names, state_dir

__version__ = "0.1.0"

__all__ = ["LabError", "__version__", "names", "state_dir"]
