"""``python -m kbootstrap_lab.vm.doctor`` prints why virtual machines cannot run here, or nothing."""

from kbootstrap_lab.vm.requirements import missing

print("; ".join(missing()))
