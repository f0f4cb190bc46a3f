# shellcheck shell=sh
# In a pod of the network test: answers each HTTP request on port $1 with the node's name. The request is read first, because a
# socket that is closed before that is reset.
# shellcheck disable=SC2016 # the inner shell's variables
exec nc -ll -p "$1" -e sh -c '
    while read -r line; do [ ${#line} -gt 1 ] || break; done
    printf "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nkbootstrap %s\n" "$NODE"'
