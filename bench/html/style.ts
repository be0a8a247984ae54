// The look of the page: system fonts, and two sets of colours with enough contrast for text and marks.
export const style = `
:root { color-scheme: light dark; --page: #fff; --panel: #f6f7f9; --text: #1b1f24; --soft: #59636e; --line: #d8dde3;
  --m0: #0b62c4; --m1: #c4500b; --m2: #1a7f4b; --m3: #8a3fc0; --m4: #a8284f; --m5: #5f6b00; }
@media (prefers-color-scheme: dark) {
  :root { --page: #12151a; --panel: #1b2027; --text: #e8ebef; --soft: #a3adb8; --line: #343c46;
    --m0: #6ab0ff; --m1: #ffa45e; --m2: #5fd39a; --m3: #cf9cff; --m4: #ff8fae; --m5: #c9d45a; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .25rem; border-top: 1px solid var(--line); padding-top: 1.25rem; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .25rem; }
h4 { font-size: .9rem; margin: .6rem 0 .1rem; font-weight: 600; }
p { margin: .25rem 0 .75rem; color: var(--soft); max-width: 44rem; }
nav a { color: var(--m0); margin-right: 1rem; }
.chart { background: var(--panel); border-radius: 8px; padding: .5rem .9rem .6rem; }
.row { display: grid; grid-template-columns: minmax(9rem, 17rem) 1fr 5rem; column-gap: .75rem; align-items: stretch; }
.row .label { font-size: .82rem; line-height: 1.25; padding: .15rem 0; color: var(--soft); }
.row svg { display: block; width: 100%; height: 100%; min-height: 20px; overflow: visible; }
.row .told { font-size: .85rem; text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.axis svg { min-height: 16px; }
.axis text { font-size: 11px; fill: var(--soft); }
.swatch { display: inline-block; width: .65em; height: .65em; border-radius: 2px; margin-right: .4em; background: var(--own); }
.grid { stroke: var(--line); }
.one { stroke: var(--text); stroke-dasharray: 3 3; }
.bar { fill: var(--own); }
.span { stroke: var(--own); opacity: .35; stroke-width: 2; }
.row svg svg.at { width: 1px; height: 1px; min-height: 0; }
.mark { stroke: var(--own); stroke-width: 1.75; fill: var(--panel); }
.mark.ours { fill: var(--own); }
.mark.bound { fill: var(--text); stroke: none; }
.legend { list-style: none; padding: 0; margin: .4rem 0; display: flex; flex-wrap: wrap; gap: .1rem 1rem; font-size: .85rem; }
.legend li { display: flex; align-items: center; gap: .3rem; }
.legend svg { flex: none; }
${[0, 1, 2, 3, 4, 5].map((machine) => `.m${machine} { --own: var(--m${machine}); }`).join(' ')}
details { margin: .6rem 0; border: 1px solid var(--line); border-radius: 8px; }
summary { cursor: pointer; padding: .5rem .9rem; font-size: .92rem; }
.wide { overflow-x: auto; padding: 0 .9rem .6rem; overflow-wrap: normal; }
table { border-collapse: collapse; font-size: .8rem; width: max-content; }
th, td { text-align: left; vertical-align: top; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td { font-variant-numeric: tabular-nums; }
td { max-width: 24rem; }
.machines { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); gap: .75rem; margin: 1rem 0; }
.card { background: var(--panel); border-radius: 8px; border-left: 4px solid var(--own); padding: .6rem .9rem; }
.card h3 { margin: 0 0 .2rem; }
dl { margin: 0; font-size: .82rem; display: grid; grid-template-columns: auto 1fr; gap: .05rem .75rem; }
dt { color: var(--soft); } dd { margin: 0; }
@media (max-width: 40rem) {
  body { padding: 1rem .75rem 3rem; }
  .chart { padding: .4rem .6rem .5rem; }
  .row { grid-template-columns: 1fr 4.3rem; }
  .row .label { grid-column: 1 / -1; padding: .3rem 0 0; }
  .axis .label { display: none; }
}
@media print { details { break-inside: avoid; } }
`;
