# A lab host from somebody else's image (--image): what a host has and a container image has not is added.
ARG IMAGE
FROM ${IMAGE}
COPY node-entrypoint image-setup /usr/local/sbin/
RUN sh /usr/local/sbin/image-setup
STOPSIGNAL SIGRTMIN+3
ENTRYPOINT ["/usr/local/sbin/node-entrypoint"]
