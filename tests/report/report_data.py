"""Pages to look at: a bundle's manifest and a bench, with names that would like to be more than names."""

from __future__ import annotations

from typing import Any

import numpy as np

from compiler.measure.latency import latency, percentiles

HOSTILE = '"><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)> $\\frac{1}{0}$ \x00\u202e _名'

HOST = {"machine": "x86_64", "system": "linux", "cpu": "a CPU", "cpu_features": ["avx2", "fma"], "cores": 2}
VERSIONS = {"python": "3.11.7", "numpy": "2.4.6"}


def output(name: str, used: float = 0.142, **changes: Any) -> dict[str, Any]:
    shares = {"element": used, "row": used / 2, "whole": used / 3}
    return {
        "output": name, "passed": used <= 1, "used": used, "error": 1.63e-05, "budget": 1.63e-05 / max(used, 1e-9),
        "why": "off by 1.63e-05", "case": "batch=64",
        "worst": {"index": [37, 1], "got": -35.976387, "want": -35.9763707},
        "rms": 1.022, "shares": shares, "flips": 0, "decided": "budget", "promises": [], **changes,
    }  # fmt: skip


def step(name: str, nodes: tuple[int, int], size: tuple[int, int], **changes: Any) -> dict[str, Any]:
    return {
        "name": name, "modified": nodes[0] != nodes[1] or size[0] != size[1], "nodes_before": nodes[0],
        "nodes_after": nodes[1], "bytes_before": size[0], "bytes_after": size[1], "seconds": 0.0123, "declined": [],
        "operators": {}, **changes,
    }  # fmt: skip


def lowered(name: str) -> dict[str, Any]:
    fidelity = {"status": "passed", "outputs": [output(name, 0.31)], "cases": 2, "notes": [], "edges": []}
    kept = {"name": "head", "operator": "Gemm", "precision": "float32", "bits": 32.0, "weights": 320, "why": name}
    return {
        "precision": "int8", "rest": "float32", "own": [], "method": "auto", "fidelity": fidelity,
        "layers": [
            {**kept, "name": name, "precision": "int8", "bits": 8.25, "weights": 640, "why": "", "error": 0.0123},
            {**kept, "error": None},
        ],
    }  # fmt: skip


def manifest(name: str = "logits", status: str = "passed", *, low: bool = False) -> dict[str, Any]:
    spec = {"name": name, "dtype": "float32", "dims": [{"name": "batch", "lo": 1, "hi": 64, "step": 1}, 10]}
    outputs = [output(name, 1.8 if status == "failed" else 0.142), output(f"{name} 2", 0.0)]
    if status == "skipped":
        outputs = []
    edges = [
        {
            "probe": "NaN in x",
            "output": name,
            "same": True,
            "wanted": "10 NaN of 210",
            "how": "",
            "count": 0,
            "why": "",
        },
        {"probe": "ties", "output": name, "same": False, "wanted": "numbers", "how": "NaN", "count": 3, "why": ""},
    ]
    return {
        "schema": "plumbline-bundle/1", "plumbline": "0.1.0", "target": "onnxruntime",
        "source": {"path": f"{name}.py:build", "format": "factory", "sha256": "75ab", "route": "torch.export",
                   "facts": {"architecture": name}},
        "versions": VERSIONS, "host": HOST,
        "options": {"seed": 0, "effort": "quick", "verify": status != "skipped", "target": {}}, "terms": {},
        "passes": [
            step("lift-constants", (118, 116), (55592, 55608)),
            step("fuse-gelu", (116, 90), (55608, 55608), operators={"Gelu": 3},
                 declined=[f"Mul {name}: it has another user"]),
            step("legalize", (90, 90), (55608, 55608)),
        ],
        "operators": {"Gemm": 2, name: 7},
        "precision": lowered(name) if low else None,
        "artifact": {"target": "onnxruntime", "files": ["model.onnx"], "runtime": "onnxruntime 1.31.1",
                     "signature": {"inputs": [spec], "outputs": [spec]},
                     "precision": "float32", "options": {}, "facts": {}},
        "effective": {"threads": 2, "told": name},
        "reference": None if status == "skipped" else {
            "producer": "PyTorch 2.13.0, eager", "seed": 0, "effort": "quick", "inputs": [], "ranges": {},
            "cases": ["batch=1", "batch=64"], "seconds": 0.08, "notes": [],
        },
        "verdict": {"status": status, "outputs": outputs, "cases": 2, "notes": [f"a note about {name}"],
                    "edges": edges},
    }  # fmt: skip


def error(status: str = "passed", used: float | None = 0.1, **changes: Any) -> dict[str, Any]:
    return {"status": status, "used": used, "promises": (), "fidelity": None, **changes}


def row(name: str, seconds: float, used: float | None, status: str = "passed", **changes: Any) -> dict[str, Any]:
    calls = np.random.default_rng(len(name)).lognormal(np.log(seconds), 0.08, 400).tolist()
    ratio = {"value": seconds / 0.01, "low": seconds / 0.0101, "high": seconds / 0.0099}
    found = latency(calls)
    return {
        "name": name, "what": f"it is {name}", "error": error(status, used), "place": "", "disk": 60141, "load": 0.31,
        "first": 0.012, "steady_after": 3, "latency": vars(found), "spread": percentiles(calls),
        "ratio": None if seconds == 0.01 else ratio, "rates": {1: 1 / seconds}, "peak": 10**8, "failure": "",
        "note": "", "verdict": "" if seconds == 0.01 else "faster", **changes,
    }  # fmt: skip


def bench_table(name: str = "onnxruntime", **changes: Any) -> dict[str, Any]:
    rows = [
        row("eager", 0.01, 0.12),
        row(name, 0.0042, 0.18),
        row("openvino", 0.0031, 0.31),
        row("tvm", 0.0043, 0.0),
        row("half", 0.0025, 7.4, "failed"),
        {**row("absent", 0.01, None, "unknown"), "latency": None, "spread": (), "failure": f"{name} ended"},
    ]
    return {
        "threads": 2,
        "sizes": {"batch": 8},
        "against": "eager",
        "rounds": 9,
        "cores": [0, 1],
        "rows": rows,
        **changes,
    }


def bench(name: str = "onnxruntime") -> dict[str, Any]:
    share = {"name": name, "steps": 3, "seconds": 0.0031, "flops": 10, "bytes": 20, "least": 0.0022, "roofline": 0.7097}
    other = {**share, "name": "", "seconds": 0.0011, "least": None, "roofline": None}
    profile = {"name": name, "failure": "", "total": {**share, "name": "", "seconds": 0.0042},
               "by_operator": [share, other], "by_module": [other, share], "steps": []}  # fmt: skip
    profiles = {"threads": 2, "sizes": {"batch": 8}, "peaks": {"copy": 1e10},
                "profiles": [profile, {**profile, "name": "tvm", "failure": f"{name} has none"}]}  # fmt: skip
    tables = [bench_table(name), bench_table(name, sizes={"batch": 1})]
    return {"tables": tables, "profiles": [profiles], "host": HOST, "versions": VERSIONS}


def choice(name: str = "onnxruntime") -> dict[str, Any]:
    return {
        "chosen": name, "for": "latency", "max_latency": None, "max_size": None,
        "refused": {"half": "it is not what the model computes"}, "warnings": [], "table": bench_table(name),
    }  # fmt: skip


def layers(name: str = "encoder") -> dict[str, Any]:
    places = [
        {"value": f"v{place}", "module": f"{name}.{place}", "operator": "MatMul", "line": "model.py:12"}
        for place in range(12)
    ]
    errors = {
        "float32": [1e-8 * 1.5**place for place in range(12)],
        "onnxruntime": [2e-8 * 1.5**place for place in range(12)],
    }
    return {"told": "Twelve places.", "places": places, "errors": errors}
