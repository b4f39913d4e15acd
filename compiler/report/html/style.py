"""How a page looks, in light and in dark. Charts are drawn in the names of these colours."""

from __future__ import annotations

INK, DIM, RULE, PANEL = "ink", "dim", "rule", "panel"
ACCENT, GOOD, BAD, WARN = "accent", "good", "bad", "warn"
HEAT = tuple(f"heat{step}" for step in range(8))  # from nothing to much

LIGHT = {
    INK: "#1c1e22",
    DIM: "#5b616b",
    RULE: "#d9dce1",
    PANEL: "#f5f6f8",
    ACCENT: "#2f5fc4",
    GOOD: "#1b7a48",
    BAD: "#bf2c2c",
    WARN: "#8f6200",
    **dict(
        zip(HEAT, ("#eaf0fa", "#cfdff4", "#aec9ec", "#86abdf", "#5f8bd0", "#416cb8", "#2b4d94", "#182f66"), strict=True)
    ),
}
DARK = {
    INK: "#e7e9ed",
    DIM: "#a2a8b3",
    RULE: "#363b45",
    PANEL: "#1d2027",
    ACCENT: "#7fa8ff",
    GOOD: "#50c88c",
    BAD: "#ff7f78",
    WARN: "#e0b44c",
    **dict(
        zip(HEAT, ("#1c2433", "#233352", "#2b4678", "#345b9f", "#4574c6", "#6b97e6", "#9dbdf7", "#dbe7ff"), strict=True)
    ),
}


def _variables(colours: dict[str, str], page: str) -> str:
    return "".join(f"--{name}:{value};" for name, value in {**colours, "page": page}.items())


CSS = f"""
:root{{color-scheme:light dark;{_variables(LIGHT, "#ffffff")}}}
@media (prefers-color-scheme:dark){{:root{{{_variables(DARK, "#131519")}}}}}
@media print{{:root{{{_variables(LIGHT, "#ffffff")}}}}}
*{{box-sizing:border-box}}
body{{margin:0 auto;max-width:74rem;padding:2.5rem 1.5rem 4rem;background:var(--page);color:var(--ink);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}}
h1{{font-size:1.6rem;line-height:1.25;margin:0 0 .2rem;overflow-wrap:anywhere}}
h2{{font-size:1.15rem;margin:2.8rem 0 .4rem;padding-top:1rem;border-top:1px solid var(--rule)}}
h3{{font-size:1rem;margin:1.6rem 0 .3rem}}
p{{margin:.4rem 0 .8rem;max-width:46rem}}
a{{color:var(--accent)}}
code{{font:.92em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}}
.kind{{color:var(--dim);margin:0 0 1.2rem}}
.verdict{{border:1px solid var(--rule);border-left:.4rem solid var(--state);background:var(--panel);
border-radius:.4rem;padding:1rem 1.2rem;margin:0 0 1rem}}
.verdict strong{{color:var(--state);letter-spacing:.02em}}
.verdict p{{margin:.25rem 0 0;font-size:1.05rem;max-width:none}}
.is-good{{--state:var(--good)}}.is-bad{{--state:var(--bad)}}.is-warn{{--state:var(--warn)}}
b[class]{{color:var(--state)}}td b{{white-space:nowrap}}
dl{{display:flex;flex-wrap:wrap;gap:.9rem 2.2rem;margin:1.2rem 0}}
dt{{color:var(--dim);font-size:.82rem}}
dd{{margin:0;font-size:1.15rem;font-variant-numeric:tabular-nums}}
nav{{margin:1.2rem 0 0;color:var(--dim);font-size:.92rem}}
nav a{{margin-right:1.1rem;white-space:nowrap;display:inline-block}}
figure{{margin:1rem 0;overflow-x:auto}}
figcaption{{color:var(--dim);font-size:.88rem;max-width:46rem}}
svg{{display:block;width:100%;min-width:34rem;height:auto;font-family:inherit;
stroke-linejoin:round;stroke-linecap:butt}}
.scroll{{overflow-x:auto;margin:.8rem 0}}
table{{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}}
th{{text-align:left;color:var(--dim);font-weight:500;white-space:nowrap}}
th,td{{padding:.3rem 1.1rem .3rem 0;border-bottom:1px solid var(--rule);vertical-align:top}}
td{{overflow-wrap:break-word;unicode-bidi:isolate;min-width:3.2rem;max-width:26rem}}
.r{{text-align:right;white-space:nowrap}}
details{{margin:.8rem 0}}
summary{{cursor:pointer;color:var(--accent);white-space:nowrap}}td code{{overflow-wrap:break-word}}
pre{{overflow:auto;max-height:32rem;background:var(--panel);border:1px solid var(--rule);border-radius:.4rem;
padding:.8rem 1rem;font-size:.78rem;line-height:1.45}}
.note{{color:var(--dim)}}
"""
