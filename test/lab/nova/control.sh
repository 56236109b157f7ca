#!/bin/bash
# control.sh freeze|thaw conductor|scheduler|api|database: SIGSTOP and SIGCONT; the
# database is the cell's, and away: connections to it are cut and refused
. "$(dirname "$0")/env.sh"
inside "$0" "$@"
if [ "${2:-}" = database ]; then
    case $1 in
    freeze) do="alter user cell@localhost account lock; kill user cell@localhost" ;;
    thaw)   do="alter user cell@localhost account unlock" ;;
    *)      do= ;;
    esac
    [ -n "$do" ] && exec mariadb --no-defaults -S "$RUN/mysql.sock" -u root -e "$do"
fi
alive "nova-${2:-}" || die "there is no nova-${2:-}"
read -r pid _ <"$RUN/pid/nova-$2"
case $1 in
freeze) kill -STOP -- "-$pid" ;;
thaw)   kill -CONT -- "-$pid" ;;
*)      sed -n '2,3s/^# //p' "$0"; exit 2 ;;
esac
