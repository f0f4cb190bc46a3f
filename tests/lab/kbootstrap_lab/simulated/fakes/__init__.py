"""The stand-ins that are too intricate for shell: package managers, kubeadm, kubectl and friends.

They run inside a host, by ``bin/python-stand-in``, with the standard library and PyYAML and nothing else; start-up time
matters, so imports are few. One rule for all of them: what a stand-in does not know it refuses (exit 64).
"""
