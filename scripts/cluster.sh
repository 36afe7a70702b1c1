#!/bin/sh
# cluster.sh [JOB.yaml] [--set SECTION.KEY=VALUE]...: a cluster in a box. Makes machines out of
# network namespaces, joined by links of limited rate (tc's tbf at each machine's end) and delay
# (cluster_switch.c: not every kernel has netem), runs the job over them with mpirun, one rank a
# machine, and prints a row a link: what a stream of TCP carries over it, tokens/s, and, measured /
# as `solera plan --ranks --link` has it, the seconds of a step, those in which machine 1 waits for
# the exchange and those in which it is hidden (medians of the steps but the first), what it sends a
# step, and the most memory of a rank. The first rows are without a network: one process with as
# many threads, then ranks that share memory. Without JOB.yaml: SmolLM2-135M, random weights, on
# data/sample, two micro-batches of a window of 256 tokens a rank.
# Needs root, Linux, iproute2, Open MPI, cc and python3.
# MACHINES: how many (2), at most 16; RATES: Gbit/s ("1 10"; "": no links); DELAYS: ms one way ("0.1 1");
# STEPS (4); THREADS: of a rank (1); TURNS: how often all rows are measured, one after the other
# (1); SOLERA: the program (build/release/solera); PYTHON (python3)
SOLERA=${SOLERA:-$PWD/build/release/solera}
. "$(dirname "$0")/../tests/cli/common"
here=$(cd "$(dirname "$0")" && pwd)
machines=${MACHINES:-2} steps=${STEPS:-4} threads=${THREADS:-1} python=${PYTHON:-python3}
[ "$(id -u)" = 0 ] || fail "needs root, as ip netns and tc do"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
${CC:-cc} -std=c11 -O2 -D_GNU_SOURCE -o "$dir/switch" "$here/cluster_switch.c" ||
    fail "cluster_switch.c does not compile"

switch=
# A rank that runs keeps its namespace, deleted or not.
take_down() {
    for i in $(seq "$machines"); do
        ip netns pids "slr$i" 2>/dev/null | xargs -r kill 2>/dev/null || true
        ip netns del "slr$i" 2>/dev/null || true
    done
    [ -z "$switch" ] || kill "$switch" 2>/dev/null || true
    switch=
}
trap 'take_down; rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM

put_up() { # GBIT MS: machines whose links have this rate and delay
    take_down
    : >"$dir/ready"
    "$dir/switch" "$machines" "$(awk "BEGIN { print 1000 * $2 }")" >"$dir/ready" &
    switch=$!
    until [ -s "$dir/ready" ]; do kill -0 "$switch" 2>/dev/null || fail "the switch ended"; sleep 0.1; done
    for i in $(seq "$machines"); do
        at="ip -n slr$i"
        ip netns add "slr$i"
        ip link set "slr$i" netns "slr$i"
        $at link set lo up
        $at link set "slr$i" address "02:00:00:00:00:$(printf %02x "$i")" mtu 60000 up
        $at addr add "10.77.0.$i/24" dev "slr$i"
        tc -n "slr$i" qdisc add dev "slr$i" root tbf rate "${1}gbit" burst 1mb latency 50ms
    done
}

# What a stream of TCP from machine 1 to 2 carries, in Gbit/s.
cat >"$dir/stream.py" <<'PYTHON'
import socket, sys, time
if sys.argv[1] == "to":
    end, block, begun = socket.create_connection(("10.77.0.2", 5000)), bytes(1 << 20), time.time()
    while time.time() - begun < 3: end.sendall(block)
else:
    with socket.create_server(("10.77.0.2", 5000)) as server:
        print("ready", flush=True)
        end = server.accept()[0]
    n, block, begun = 0, bytearray(1 << 20), time.time()
    while got := end.recv_into(block): n += got
    print("%.2f" % (8e-9 * n / (time.time() - begun)))
PYTHON
carried() {
    : >"$dir/carried"
    ip netns exec slr2 "$python" "$dir/stream.py" from >"$dir/carried" &
    receiver=$!
    until [ -s "$dir/carried" ]; do sleep 0.1; done
    ip netns exec slr1 "$python" "$dir/stream.py" to
    wait "$receiver"
    tail -n 1 "$dir/carried"
}

# What mpirun starts its daemons with, in place of ssh: AGENT ADDRESS COMMAND...
cat >"$dir/agent" <<'AGENT'
#!/bin/sh
name=slr${1##*.}
shift
exec ip netns exec "$name" unshare --uts sh -c "hostname $name; $*"
AGENT
chmod +x "$dir/agent"

# Runs a command and adds the most memory that it had, in KB, to a file.
cat >"$dir/peak.py" <<'PYTHON'
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
with open(sys.argv[1], "a") as file:
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=file)
sys.exit(code)
PYTHON

over_links() { # command
    hosts=$(seq "$machines" | sed 's/^/10.77.0./; s/$/:1/' | paste -sd, -)
    ip netns exec slr1 unshare --uts sh -c 'hostname slr1; exec "$@"' sh \
        mpirun --host "$hosts" -n "$machines" --mca plm rsh --mca plm_rsh_agent "$dir/agent" \
        --mca pml ob1 --mca btl tcp,self --mca btl_tcp_if_include 10.77.0.0/24 \
        --mca oob_tcp_if_include 10.77.0.0/24 "$@"
}
alone() { # command
    "$@"
}
in_memory() { # command
    mpirun -n "$machines" "$@"
}

job=$dir/job.yaml
case ${1:-} in
"" | --*)
    "$SOLERA" train-tokenizer --vocab 1024 --input "$here/../data/sample/stories.txt" \
        -o "$dir/tokenizer.json" 2>/dev/null
    cat >"$job" <<YAML
model: {init: "random:smollm2-135m", tokenizer: $dir/tokenizer.json}
data: {train: $here/../data/sample/stories.txt}
quant: {group_size: 64}
train: {batch: 1, seq: 256, accumulate: $((2 * machines)), eval_every: 0}
YAML
    ;;
*)
    job=$1
    shift
    ;;
esac

cat >"$dir/row.py" <<'PYTHON'
import json, sys
from statistics import median
run, plan, peak, sent, name, stream = sys.argv[1:]
first, *rows = [json.loads(line) for line in open(run)]
plan = json.load(open(plan))
seconds = [first["tokens"] / r["tok_s"] for r in rows]
of = lambda key: median(s * r.get(key, 0) for s, r in zip(seconds, rows))
pairs = [(median(seconds), plan["step_seconds"]), (of("exchange"), plan["exchange_seconds"]),
         (of("exchange_hidden"), plan["exchange_hidden_seconds"]),
         (int(sent) / 1e6 / (1 + len(rows)), plan["exchange_bytes"] / 1e6),
         (max(int(k) for k in open(peak)) / 1e6, plan["memory_bytes"] / 1.024e9)]
cells = ["%.0f" % median(r["tok_s"] for r in rows)] + ["%.3g / %.3g" % p for p in pairs]
print("| " + " | ".join([name, stream] + cells) + " |")
PYTHON
sent() { # bytes by machine 1 so far
    ip netns exec slr1 cat /sys/class/net/slr1/statistics/tx_bytes 2>/dev/null || echo 0
}
# NAME GBIT CARRIED alone|in_memory|over_links settings...: a run as a line of the table
row() {
    name=$1 rate=$2 stream=$3 how=$4 ranks=$machines each=$threads
    shift 4
    [ "$how" != alone ] || ranks=1 each=$((threads * machines))
    rm -rf "$dir/run" "$dir/peak"
    "$SOLERA" plan "$job" --ranks "$ranks" --link "$rate" --json -t "$each" "$@" \
        --set run.dir="$dir/run" >"$dir/plan.json"
    before=$(sent)
    "$how" "$python" "$dir/peak.py" "$dir/peak" "$SOLERA" train "$job" --set run.dir="$dir/run" \
        --set train.steps="$steps" --set checkpoint.every=1000000 -t "$each" "$@" \
        >"$dir/out" 2>&1 || fail "$name: $(cat "$dir/out")"
    "$python" "$dir/row.py" "$dir/run/metrics.jsonl" "$dir/plan.json" "$dir/peak" \
        "$(($(sent) - before))" "$name" "$stream"
}

uptime | sed 's/.*load/load/'
echo "| link | stream, Gbit/s | tokens/s | step, s | waits, s | hidden, s | sent, MB | memory, GB |"
echo "|---|---|---|---|---|---|---|---|"
for turn in $(seq "${TURNS:-1}"); do
    take_down
    row "none, one process" 1000000 "" alone "$@"
    row none 1000000 "" in_memory "$@"
    for rate in ${RATES-1 10}; do
        for delay in ${DELAYS:-0.1 1}; do
            put_up "$rate" "$delay"
            row "$rate Gbit/s, $delay ms" "$rate" "$(carried)" over_links "$@"
        done
    done
done
uptime | sed 's/.*load/load/'
