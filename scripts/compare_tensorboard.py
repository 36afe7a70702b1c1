"""Reads the event file of a run with TensorBoard's own package and compares it with metrics.jsonl.

    python3 -m venv build/tb && build/tb/bin/pip install tensorboard==2.20.0
    build/release/solera train configs/demo.yaml --set run.dir=runs/tb --set train.steps=20 \
        --set train.tensorboard=true --set study.every=10 --set train.sample_every=10
    build/tb/bin/python scripts/compare_tensorboard.py runs/tb

Every scalar of every step must be that of metrics.jsonl to the precision of a float; the histograms
of a layer must count as many weights at every step; the texts must be the samples. Exit code 1 where
something is not, or nothing is there.
"""
import json
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TAGS = {"loss": "train", "lr": "train", "lambda": "train", "grad_norm": "train", "tok_s": "train",
        "objective": "train", "distill_loss": "train", "hidden_loss": "train",
        "relation_loss": "train", "eval_loss": "eval", "packed_loss": "eval"}


def as_float(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def main(run):
    lines = [json.loads(line) for line in open(f"{run}/metrics.jsonl")]
    if not lines:
        sys.exit(f"{run}/metrics.jsonl: is empty")
    events = EventAccumulator(run, size_guidance={"scalars": 0, "histograms": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    wrong = 0
    for key, group in TAGS.items():
        want = [(r["step"], as_float(r[key])) for r in lines if r.get(key) is not None]
        tag = f"{group}/{key}"
        got = [(e.step, as_float(e.value)) for e in events.Scalars(tag)] if tag in tags["scalars"] else []
        close = len(got) == len(want) and all(
            a[0] == b[0] and abs(a[1] - b[1]) <= 1e-6 * abs(b[1]) for a, b in zip(got, want))
        if want or got:
            print(f"{tag:20} {len(got):6} of {len(want)} steps {'equal' if close else 'DIFFERENT'}")
        wrong += not close
    for tag in tags["histograms"]:
        counts = {e.histogram_value.num for e in events.Histograms(tag)}
        if len(counts) != 1 or counts == {0}:
            print(f"{tag}: counts of {counts} weights")
            wrong += 1
    print(f"{len(tags['histograms'])} histograms")
    want = [(r["step"], r["sample"]) for r in lines if "sample" in r]
    got = [(e.step, e.tensor_proto.string_val[0].decode()) for e in events.Tensors("sample")] if want else []
    print(f"{'sample':20} {len(got):6} of {len(want)} texts {'equal' if got == want else 'DIFFERENT'}")
    return 1 if wrong or got != want else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
