#!/bin/sh
# Starts an example pool: run_example.sh NODE DATA. NODE is devchain (built in)
# or litecoind (the real node in regtest, installed beforehand).
set -eu
node=$1
data=$2
mkdir -p "$data"
case "$node" in
devchain)
    exec pithead up -f examples/quickstart --data "$data"
    ;;
litecoind)
    if ! command -v litecoind >/dev/null; then
        echo "litecoind is not installed: on Debian, apt-get install litecoind; or start the built-in node with make run" >&2
        exit 2
    fi
    exec python -m tests.support.litecoind --datadir "$data/litecoind" --rpcport 19332 -- \
        pithead up -f examples/litecoin-regtest --data "$data/pool"
    ;;
*)
    echo "NODE=$node is not known: use NODE=devchain or NODE=litecoind" >&2
    exit 2
    ;;
esac
