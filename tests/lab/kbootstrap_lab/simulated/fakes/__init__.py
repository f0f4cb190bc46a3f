"""The stand-ins that are too complex for shell: package managers, kubeadm, kubectl and others.

``bin/python-stand-in`` runs them inside a host. They use only the standard library and PyYAML. Start-up time matters,
so they import little. Every stand-in refuses a request that it does not know, with exit status 64.
"""
