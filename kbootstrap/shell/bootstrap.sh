# shellcheck shell=sh
# bootstrap.sh - the command of a connection. It greets, then reads "MARKER SIZE" and that many bytes of launcher.sh from stdin.
# So sudo's log and the process list show a short command instead of the whole launcher. Lines before the marker are dropped:
# a sudo that asks for no password leaves the password unread.
echo '@kbootstrap hello'
while read -r KB_MARKER kb_size; do
    case $KB_MARKER in
        @kb-*) break ;;
    esac
done
eval "$(head -c "$kb_size")"
