"""The page's style sheet: light, dark and paper."""

CSS = """\
:root { color-scheme: light dark;
  --ink: #1f2328; --muted: #656d76; --grid: #d8dee4; --paper: #ffffff; --panel: #f6f8fa;
  --pass: #1a7f37; --fail: #cf222e; --inconclusive: #9a6700; --error: #8250df; --mark: #0969da; }
@media (prefers-color-scheme: dark) { :root {
  --ink: #e6edf3; --muted: #8d96a0; --grid: #30363d; --paper: #0d1117; --panel: #161b22;
  --pass: #3fb950; --fail: #f85149; --inconclusive: #d29922; --error: #a371f7; --mark: #58a6ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
header { display: flex; align-items: center; gap: 1rem; margin-bottom: 1.25rem; padding: 1rem 1.25rem;
  border: 1px solid var(--tone); border-left-width: 6px; border-radius: 8px;
  background: color-mix(in srgb, var(--tone) 9%, var(--paper)); }
header.pass { --tone: var(--pass); } header.fail { --tone: var(--fail); }
header.inconclusive { --tone: var(--inconclusive); } header.error { --tone: var(--error); }
h1 { margin: 0; font-size: 1.3rem; line-height: 1.35; }
.sign { flex: none; width: 2.1rem; height: 2.1rem; margin: 0; border-radius: 50%; text-align: center;
  line-height: 2.1rem; font-weight: 700; color: var(--paper); background: var(--tone); }
h2 { margin: 2.25rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--grid); font-size: 1.1rem; }
p, ul { margin: .6rem 0; } ul { padding-left: 1.25rem; } li { margin: .3rem 0; }
code { font: .88em/1.4 ui-monospace, "SF Mono", "DejaVu Sans Mono", monospace; padding: .1em .35em;
  border-radius: 5px; background: var(--panel); overflow-wrap: anywhere; }
pre { padding: .8rem 1rem; border-radius: 8px; background: var(--panel); overflow-x: auto; } pre code { padding: 0; }
.table { overflow-x: auto; margin: .75rem 0; border: 1px solid var(--grid); border-radius: 8px; }
table { width: 100%; border-collapse: collapse; font-size: .9rem; }
th, td { padding: .42rem .6rem; text-align: left; vertical-align: top; }
th { color: var(--muted); font-weight: 600; background: var(--panel); }
tbody td { border-top: 1px solid var(--grid); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td code { white-space: nowrap; overflow-wrap: normal; }
.mark { white-space: nowrap; font-weight: 600; color: var(--tone); }
.mark.pass { --tone: var(--pass); } .mark.fail { --tone: var(--fail); }
.mark.inconclusive { --tone: var(--inconclusive); } .mark.error { --tone: var(--error); }
figure { margin: 1rem 0; } figure svg { display: block; width: 100%; max-width: 52rem; height: auto; margin: 0 auto; }
figure svg text {
  font-family: system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif !important; }
details { margin: 1.5rem 0; } summary { cursor: pointer; font-weight: 600; }
@media (max-width: 40rem) { td.n { white-space: normal; min-width: 7.5rem; } }
@media print { :root { --ink: #000; --muted: #444; --grid: #bbb; --paper: #fff; --panel: #f4f4f4;
    --pass: #1a7f37; --fail: #b31d28; --inconclusive: #735c0f; --error: #5a32a3; --mark: #0550ae; }
  main { max-width: none; padding: 0; } h2 { break-after: avoid; } figure, tr, li, pre { break-inside: avoid; }
  .table { overflow: visible; } td.n, th.n, td code { white-space: normal; }
  html { font-size: 11px; } body { font-size: 1rem; } figure svg { max-height: 21cm; } @page { margin: 14mm; }
  details::details-content { content-visibility: visible; block-size: auto; } }
"""
