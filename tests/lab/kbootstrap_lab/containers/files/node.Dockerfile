# A lab host: a Debian root with real systemd, sshd, dnf or apt, firewalld; see docs/lab.md for what is a stand-in.
ARG ROOT
FROM ${ROOT}
ARG DISTRIBUTION
COPY node-entrypoint node-setup /usr/local/sbin/
COPY os-release.* /usr/local/share/lab/
RUN sh /usr/local/sbin/node-setup "${DISTRIBUTION}"
STOPSIGNAL SIGRTMIN+3
ENTRYPOINT ["/usr/local/sbin/node-entrypoint"]
