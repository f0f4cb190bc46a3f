# shellcheck shell=sh
# home.sh - ~/.kube/config of a user. Below a home its user can put links, pipes and folders in anyone's way at any moment, so
# root opens and changes nothing there by name: every command runs as that user, and contents come through pipes.
# requires:

kb_home_limit=1000000
kb_home_timeout=15

# home_of USER - the user's home, or nothing.
home_of() { getent passwd "$1" | cut -d: -f6; }

# as_user USER COMMANDS - run these shell commands in the user's home, as the user. A pipe or a dead file server there
# holds them up for 15 seconds at most.
as_user() {
    KB_HOME=$(home_of "$1")
    export KB_HOME
    kb_commands="cd \"\$KB_HOME\" && umask 077 && $2"
    if [ "$1" = root ]; then
        timeout "$kb_home_timeout" sh -c "$kb_commands"
    elif have runuser; then
        timeout "$kb_home_timeout" runuser -u "$1" -- sh -c "$kb_commands"
    else
        timeout "$kb_home_timeout" su -s /bin/sh "$1" -c "$kb_commands"
    fi
}

# kube_config_is USER - what is at ~/.kube/config: `file`, `nothing`, or what makes it unusable. Fails where there is no home.
kube_config_is() {
    as_user "$1" '
        if [ -L .kube/config ]; then echo "a symbolic link"
        elif [ -f .kube/config ]; then echo file
        elif [ -e .kube/config ]; then echo "not a plain file"
        elif [ -L .kube ] && [ ! -d .kube ]; then echo "below a broken symbolic link"
        else echo nothing
        fi'
}

# kube_config_equals USER - is ~/.kube/config the same as stdin?
kube_config_equals() { as_user "$1" '[ -f .kube/config ] && [ ! -L .kube/config ] && cmp -s - .kube/config'; }

# kube_config USER - print it.
kube_config() { as_user "$1" "[ -f .kube/config ] && [ ! -L .kube/config ] && head -c $kb_home_limit .kube/config"; }

# put_kube_config USER MODE - replace it by stdin in one move. What the user has put there meanwhile is not followed.
put_kube_config() {
    # shellcheck disable=SC2016 # the user's shell expands it
    as_user "$1" '
        new=$(mktemp .kube/config.kbXXXXXX) && cat >"$new" && chmod '"$2"' "$new" || exit
        sync "$new" 2>/dev/null || sync
        if [ -d .kube/config ] && [ ! -L .kube/config ]; then
            rm -f "$new"
            exit 1
        fi
        mv -f "$new" .kube/config'
}
