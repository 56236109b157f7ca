#!/bin/bash
# control.sh freeze|thaw conductor|scheduler|api: SIGSTOP and SIGCONT
. "$(dirname "$0")/env.sh"
inside "$0" "$@"
alive "nova-${2:-}" || die "there is no nova-${2:-}"
read -r pid _ <"$RUN/pid/nova-$2"
case $1 in
freeze) kill -STOP -- "-$pid" ;;
thaw)   kill -CONT -- "-$pid" ;;
*)      sed -n '2s/^# //p' "$0"; exit 2 ;;
esac
