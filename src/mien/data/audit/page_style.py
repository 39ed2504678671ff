"""How ``audit.html`` looks: one style sheet, system fonts, no colour that carries meaning alone."""

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; color: #1a1a1a;
  background: #fff; }
header, main { max-width: 1180px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 28px; }
h1 { font-size: 28px; margin: 0 0 4px; line-height: 1.2; }
header p { margin: 0 0 10px; color: #555; overflow-wrap: anywhere; }
.privacy { border-left: 4px solid #0072B2; background: #eef5fa; color: #1a1a1a; padding: 8px 12px; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; padding: 8px 0; border-bottom: 1px solid #cfcfcf; }
a { color: #005a8f; }
section { padding: 10px 0 18px; }
h2 { font-size: 21px; margin: 18px 0 8px; }
h3 { font-size: 16px; margin: 22px 0 2px; }
p { margin: 6px 0 10px; max-width: 78ch; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 14px; margin: 8px 0; font-size: 14px; }
dt { font-weight: 600; } dd { margin: 0; color: #444; }
.findings { list-style: none; padding: 0; margin: 0; }
.findings li { display: grid; grid-template-columns: 92px 1fr; gap: 10px; padding: 5px 10px; margin: 3px 0;
  border-left: 4px solid #8a8a8a; background: #f6f6f6; }
.findings b { font-size: 13px; font-weight: 600; line-height: 1.75; white-space: nowrap; }
.findings .problem { border-color: #D55E00; background: #fdf3ec; }
.findings .notice { border-color: #E69F00; background: #fdf9ee; }
.findings .good { border-color: #009E73; background: #eefaf5; }
.wide { overflow-x: auto; margin: 8px 0; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 12px 4px 0; text-align: left; vertical-align: bottom; border-bottom: 1px solid #e3e3e3; }
th { border-bottom: 2px solid #8a8a8a; font-weight: 600; }
.n { text-align: right; }
td.n, td:first-child { white-space: nowrap; }
.side { display: flex; flex-wrap: wrap; gap: 4px 48px; align-items: flex-start; }
.chart { max-width: 100%; height: auto; }
.sheet { display: flex; flex-wrap: wrap; gap: 10px; align-items: flex-start; }
.row { display: flex; flex-wrap: wrap; gap: 6px; border: 1px solid #cfcfcf; border-radius: 6px; padding: 6px; }
figure { margin: 0; width: 106px; font-size: 12px; line-height: 1.3; }
figure span { display: flex; width: 104px; height: 104px; align-items: center; justify-content: center; }
figure img { image-rendering: pixelated; display: block; }
.odd img { outline: 3px solid #D55E00; outline-offset: 0; }
figcaption { overflow-wrap: anywhere; color: #555; padding-top: 2px; } figcaption b { color: #1a1a1a; }
code { background: #f1f1f1; padding: 0 4px; }
@media print { nav { display: none; } section { break-inside: auto; } figure { break-inside: avoid; } }
"""
