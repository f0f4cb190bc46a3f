# shellcheck shell=sh
# The cluster's block goes from /etc/hosts; other lines stay as they are.
# Params: CLUSTER

EDITS="/^# kbootstrap $CLUSTER begin\$/,/^# kbootstrap $CLUSTER end\$/d"

check() { show "$(edits_left /etc/hosts "$EDITS")"; }

apply() { take_edits_out /etc/hosts "$EDITS"; }
