"""The stand-ins that are too complex for shell: package managers, kubeadm, kubectl and others.

The host's PID 1 imports and runs them (see ``standins``). They use only the standard library and PyYAML, and import all
of it at the top, because a host cannot read the package. Every stand-in refuses a request that it does not know, with
exit status 64.
"""
