#!/bin/sh
# Runs nginx, and tells it which gateways there are: `--scale`, a restart or a
# replacement changes the addresses behind the name.
set -eu
name=${1:?usage: balance.sh NAME PORT}
port=${2:?usage: balance.sh NAME PORT}
list=/tmp/gateways.conf
# A question that the name server loses is asked again soon.
export RES_OPTIONS='timeout:1 attempts:2'

addresses() {
    getent ahostsv4 "$name" | awk '{ print $1 }' | sort -u
}

# Without any gateway nginx needs a line all the same.
write() {
    if [ -z "$1" ]; then
        echo 'server 127.0.0.1:1 down;' >"$list"
    else
        for address in $1; do
            echo "server $address:$port max_fails=1 fail_timeout=2s;"
        done >"$list"
    fi
}

# At a reload nginx closes the connections that are idle, and with them a request that is just
# on its way. Only since 1.27.4 can it be told to keep them; before, none is left idle.
keep_alive() {
    echo 'keepalive_timeout 75s; keepalive_min_timeout 75s;' >/tmp/keepalive.conf
    nginx -t 2>/dev/null || echo 'keepalive_timeout 0;' >/tmp/keepalive.conf
}

known=$(addresses || true)
write "$known"
keep_alive
nginx -g 'daemon off;' &
nginx=$!
trap 'kill -QUIT "$nginx"; wait "$nginx"; exit' TERM INT QUIT

while kill -0 "$nginx" 2>/dev/null; do
    # In the background, so that a signal does not wait for it.
    sleep 1 &
    wait $! || true
    found=$(addresses || true)
    # A name server that fails for a moment is no reason to forget everybody.
    if [ -n "$found" ] && [ "$found" != "$known" ]; then
        known=$found
        write "$known"
        # When nginx is gone, the loop's condition says so.
        nginx -s reload || true
    fi
done
wait "$nginx"
