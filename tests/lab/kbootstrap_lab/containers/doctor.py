"""``python -m kbootstrap.lab.containers.missing`` prints why the container lab cannot run here, or nothing."""

from kbootstrap.lab.containers.machine import missing

print("; ".join(missing()))
