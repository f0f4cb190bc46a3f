# A lab host: a Debian root with real systemd, sshd, dnf or apt, firewalld; see docs/lab.md for what is a stand-in.
ARG ROOT
FROM ${ROOT}
ARG FAMILY
ARG RELEASE
COPY node-entrypoint node-setup /usr/local/sbin/
COPY os-release /usr/local/share/lab/
COPY yum.repos.d /usr/local/share/lab/yum.repos.d/
RUN sh /usr/local/sbin/node-setup "${FAMILY}" "${RELEASE}"
STOPSIGNAL SIGRTMIN+3
ENTRYPOINT ["/usr/local/sbin/node-entrypoint"]
