"""``python -m kbootstrap_lab.containers.doctor`` prints why the container lab cannot run here, or nothing."""

from kbootstrap_lab.containers.machine import missing

print("; ".join(missing()))
