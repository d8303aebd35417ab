"""How the page looks, light and dark, wide and narrow: one sheet of CSS."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #fbfbfa; --card: #ffffff; --text: #1d2023; --soft: #5c6370; --rule: #e3e4e2; --grid: #ecedeb; --bar: #dfe8f7;
  --c0: #2563c9; --c1: #c2570c; --c2: #15803d; --c3: #8b3fc7; --c4: #c02650; --c5: #0e7f90; --c6: #8a6d00; --c7: #9aa0a8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14161a; --card: #1b1e24; --text: #e7e9ec; --soft: #a2a9b4; --rule: #32363e; --grid: #2a2e35; --bar: #24395c;
    --c0: #79a9ff; --c1: #f0964f; --c2: #5fc98a; --c3: #c69bf2; --c4: #f2809c; --c5: #56c6d6; --c6: #d8b94a; --c7: #7d848f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--text); overflow-wrap: anywhere;
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif;
}
main { max-width: 72rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .25rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; margin: 3rem 0 .5rem; letter-spacing: -.005em; }
h3 { font-size: 1rem; margin: 0 0 .25rem; }
p { margin: .25rem 0 .75rem; max-width: 46rem; }
.soft { color: var(--soft); }
.small { font-size: .875rem; }
.lead { font-size: 1.125rem; margin: 1rem 0 1.25rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.25rem, 1fr)); gap: .75rem; margin: 1.25rem 0; }
.tile, figure, .card { background: var(--card); border: 1px solid var(--rule); border-radius: .6rem; padding: .9rem 1rem; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.25; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile span { display: block; font-size: .8125rem; line-height: 1.35; color: var(--soft); font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem; }
figure { margin: 0; min-width: 0; }
figcaption { font-size: .875rem; color: var(--soft); margin-top: .35rem; }
.legend { display: flex; flex-wrap: wrap; gap: .15rem 1rem; font-size: .8125rem; color: var(--soft); margin: .25rem 0 .25rem; }
.legend span { white-space: nowrap; max-width: 100%; overflow: hidden; text-overflow: ellipsis; }
.legend i { display: inline-block; width: .75em; height: .75em; border-radius: 50%; margin-right: .35em; background: var(--own); }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 13px; font-variant-numeric: tabular-nums; }
svg .label { fill: var(--text); }
svg .mark { font-size: 12px; }
.c0 { --own: var(--c0); } .c1 { --own: var(--c1); } .c2 { --own: var(--c2); } .c3 { --own: var(--c3); }
.c4 { --own: var(--c4); } .c5 { --own: var(--c5); } .c6 { --own: var(--c6); } .c7 { --own: var(--c7); }
polyline { fill: none; }
.line { stroke: var(--own); stroke-width: 2; stroke-linejoin: round; }
.dashed { stroke-dasharray: 6 4; }
.span { stroke: var(--own); stroke-width: 1.5; opacity: .55; }
.dot { fill: var(--own); stroke: var(--card); stroke-width: 1; }
.item { fill: var(--own); opacity: .7; }
.item:hover { opacity: 1; stroke: var(--text); }
.bar { fill: var(--own); }
.grid { stroke: var(--grid); }
.axis { stroke: var(--soft); }
.guide { stroke: var(--soft); stroke-dasharray: 2 4; opacity: .8; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .9375rem; }
caption { text-align: left; color: var(--soft); font-size: .875rem; padding: .25rem 0; }
th { font-weight: 600; font-size: .8125rem; color: var(--soft); }
td, th[scope=row] { vertical-align: middle; }
th, td { padding: .4rem .6rem; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; min-width: 7rem; }
th[scope=row] { font-weight: 500; font-size: inherit; color: var(--text); }
td small { color: var(--soft); font-size: .75rem; display: block; line-height: 1.15; }
.held { min-width: 8rem; position: relative; }
.held i { position: absolute; inset: .3rem auto .3rem 0; background: var(--bar); border-radius: .2rem; }
.held b { position: relative; font-weight: 500; padding-right: .35rem; }
.lost { color: var(--c4); } .kept { color: var(--c2); }
.cards { display: grid; gap: 1rem; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 13.5rem), 1fr)); gap: 1rem 1.5rem; margin-top: .5rem; }
.columns h4 { margin: 0 0 .25rem; font-size: .8125rem; color: var(--soft); font-weight: 600; }
.columns ol, .columns ul { margin: 0; padding-left: 1.5rem; font-size: .875rem; }
.columns li.hit { font-weight: 600; color: var(--c2); }
.columns li.hit::marker { color: var(--c2); }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .25rem 1rem; font-size: .875rem; }
dt { color: var(--soft); } dd { margin: 0; }
@media (max-width: 40rem) {
  body { font-size: 15px; }
  main { padding-top: 1.25rem; }
  h1 { font-size: 1.4rem; }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .tile b { font-size: 1.25rem; }
  th, td { padding: .35rem .4rem; font-size: .8125rem; }
  th { white-space: normal; overflow-wrap: normal; }
  .held { min-width: 4.5rem; }
  th:first-child, td:first-child { min-width: 6rem; }
  .tile:last-child:nth-child(odd) { grid-column: 1 / -1; }
  .wide { display: none; }
  svg text { font-size: 16px; } svg .mark { font-size: 15px; }
}
"""
