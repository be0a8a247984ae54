// Style and script of the page.

export const style = `
:root{color-scheme:light dark;--ground:#fbfbfc;--card:#fff;--ink:#1b1f24;--quiet:#59636e;--line:#dfe3e8;--accent:#0b62c4}
@media (prefers-color-scheme:dark){:root{--ground:#121417;--card:#1a1d21;--ink:#e6e9ee;--quiet:#9aa4b0;--line:#2d333b;--accent:#7ab8ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}
header,main,footer{max-width:1024px;margin:0 auto;padding:0 24px}
header{padding-top:36px}
h1{font-size:28px;line-height:1.2;margin:0 0 12px;overflow-wrap:anywhere}
h2{font-size:18px;margin:0 0 14px}
h3{display:inline;font-size:15px;margin:0}
.kicker{margin:0 0 2px;color:var(--quiet)}
.facts{margin:0;padding:0;list-style:none;color:var(--quiet)}
.note{margin:12px 0 0;padding:8px 12px;border-left:3px solid #d9822b;background:var(--card)}
section{margin:24px 0;padding:20px;background:var(--card);border:1px solid var(--line);border-radius:10px}
svg{display:block;height:auto;max-width:100%}
.narrow{display:none}
a{color:var(--accent)}
svg a{color:inherit}
svg a:hover rect{fill-opacity:.45}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:3px}
.skip{position:absolute;left:-9999px}.skip:focus{left:8px;top:8px;padding:6px 12px;background:var(--card)}
details{margin-top:14px}
summary{cursor:pointer;color:var(--ink)}
summary span{color:var(--quiet);margin-left:6px}
.segment{border-top:1px solid var(--line);padding-top:12px;scroll-margin-top:12px}
.frames{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:12px;margin:12px 0 14px}
figure{margin:0}
figure svg{border-radius:4px}
figcaption{font-size:12px;color:var(--quiet);margin-top:3px;font-variant-numeric:tabular-nums}
.legend{display:flex;flex-wrap:wrap;gap:6px 18px;margin:0;color:var(--quiet);font-size:13px}
.legend label{color:var(--ink)}
.swatch{display:inline-block;width:13px;height:13px;margin-right:6px;border-radius:2px;vertical-align:-2px}
.merged{background:linear-gradient(90deg,#e0567f 50%,#4fa3e0 50%)}.kept{border:1.5px solid var(--quiet)}.dropped{background:#000;border:1px solid var(--line)}
.scroll{overflow-x:auto;margin-top:10px}
table{border-collapse:collapse;width:100%;font-size:13px}
th,td{text-align:left;padding:4px 12px 4px 0;border-bottom:1px solid var(--line);vertical-align:top}
.number{text-align:right;font-variant-numeric:tabular-nums}
code{font:12px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
.dot{display:inline-block;width:9px;height:9px;border-radius:2px;margin-right:6px}
.dot.text{background:#8a94a3}.dot.local{background:#3d7fd9}.dot.global,.dot.ending{background:#d9822b}
.plain figure path,.plain figure rect:not(:first-of-type),.plain figure text{display:none}
.pointed path[data-token]{fill-opacity:.12}.pointed path[data-token].same{fill-opacity:.85}
footer{padding:8px 24px 32px;color:var(--quiet);font-size:13px}
@media (max-width:700px){.wide{display:none}.narrow{display:block}header,main{padding:0 14px}header{padding-top:20px}section{padding:14px}.frames{grid-template-columns:repeat(auto-fill,minmax(128px,1fr));gap:8px}h1{font-size:22px}}
@media print{details:not([open])>:not(summary){display:block}.skip,label{display:none}}
`;

/** Opens the segment that a link leads to, hides tokens, and points out all patches of the token under the pointer. */
export const script = `
(() => {
  const open = () => {
    const found = document.getElementById(location.hash.slice(1));
    if (found instanceof HTMLDetailsElement) {
      found.open = true;
      found.querySelector('summary').focus();
      found.scrollIntoView();
    }
  };
  addEventListener('hashchange', open);
  addEventListener('click', ({ target }) => {
    const link = target.closest('a[href^="#segment-"]');
    if (link && link.getAttribute('href') === location.hash) open();
  });
  open();
  const paint = document.getElementById('paint');
  paint?.addEventListener('change', () => document.body.classList.toggle('plain', !paint.checked));
  for (const segment of document.querySelectorAll('.segment')) {
    const show = (token) => {
      segment.classList.toggle('pointed', token !== undefined);
      for (const path of segment.querySelectorAll('path[data-token]'))
        path.classList.toggle('same', path.dataset.token === token);
    };
    segment.addEventListener('pointerover', ({ target }) => show(target.closest?.('path[data-token]')?.dataset.token));
    segment.addEventListener('pointerleave', () => show(undefined));
  }
})();
`;
