# shellcheck shell=sh
# requirements.sh - what a host must fulfil before it is changed.

# requirement NAME TEXT [HINT] - the host does not fulfil this requirement: the step fails. Where the inventory names it in
# preflight.warn (WARN has these names), it is only a warning.
requirement() {
    case " $WARN " in
        *" $1 "*) kb_report warning "$2 (a warning only: preflight.warn has $1)" ;;
        *)
            requirement_failed "$2"
            kb_report hint "${3:-Or make it a warning: preflight.warn: [$1]. [requirement-failed]}"
            ;;
    esac
}
