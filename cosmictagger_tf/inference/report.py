"""Tables of metrics, for people and for files."""

from cosmictagger_tf.training.evaluation import EventTable
from cosmictagger_tf.training.metrics import HEADLINE_METRICS, plane_key


def metrics_table(table: EventTable) -> str:
    """The metrics, one a line: mean over planes and each plane, headline (mean over events) and pooled."""
    summary, planes = table.summary(), table.counts.shape[1]
    columns = ["mean", *(f"plane {p}" for p in range(planes))]
    head = f"{'':24}" + "".join(f"{c:>10}" for c in columns)
    lines = [f"{len(table.entries)} events, loss {summary['loss']:.6f}"]
    for title, prefix in (("mean over events (headline)", ""), ("pooled over the set", "pooled/")):
        lines += ["", f"{title:24}", head]
        for name in HEADLINE_METRICS:
            keys = [prefix + name, *(prefix + plane_key(name, p) for p in range(planes))]
            lines.append(f"{name:24}" + "".join(f"{summary[key]:10.5f}" for key in keys))
    return "\n".join(lines)
