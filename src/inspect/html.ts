// An inspection as a page: one file that needs no network and no other program.

import { isShort } from './draw/frame.js';
import {
  drawFrame,
  drawPrompt,
  drawSizes,
  drawTimeline,
  escapeMarkup,
  factsOf,
  stretchesOf,
  timeText,
  titleOf,
} from './draw/index.js';
import { script, style } from './htmlParts.js';
import type { Inspection } from './inspection.js';

/** Widths of drawings: for screens, and for phones. */
const widths = [960, 420] as const;

/** The text of an HTML file. */
export function inspectionPage(inspection: Inspection): string {
  const { video, segments, notes } = inspection;
  const warnings = [...video.warnings, ...notes];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>${escapeMarkup(video.name)} – what the language model sees</title>
<style>${style}</style>
</head>
<body>
<a class="skip" href="#segments">Skip to the segments</a>
<header>
<p class="kicker">What a language model sees of</p>
<h1>${escapeMarkup(video.name)}</h1>
${factList(inspection)}
${warnings.map((text) => `<p class="note">${escapeMarkup(text)}</p>`).join('\n')}
</header>
<main>
<section aria-labelledby="timeline-heading">
<h2 id="timeline-heading">The video</h2>
${both((width, id) => drawTimeline(inspection, { width, id, href: (index) => `#segment-${index + 1}` }), 'timeline')}
</section>
<section aria-labelledby="prompt-heading">
<h2 id="prompt-heading">What the language model sees</h2>
${both((width, id) => drawPrompt(inspection, { width, id }), 'prompt')}
${promptTable(inspection)}
</section>
<section id="segments" aria-labelledby="segments-heading">
<h2 id="segments-heading">Which patches became one token</h2>
${legend(inspection)}
${segments.map((_, index) => segmentPart(inspection, index)).join('\n')}
</section>
</main>
<footer>Made by longvlm inspect.</footer>
<script>${script}</script>
</body>
</html>
`;
}

function both(draw: (width: number, id: string) => string, id: string): string {
  const [wide, narrow] = widths;
  return `<div class="wide">${draw(wide, id)}</div><div class="narrow">${draw(narrow, `${id}-narrow`)}</div>`;
}

function factList(inspection: Inspection): string {
  return `<ul class="facts">${factsOf(inspection)
    .map((fact) => `<li>${escapeMarkup(fact)}</li>`)
    .join('')}</ul>`;
}

/** The prompt as a table: its texts word by word. */
function promptTable(inspection: Inspection): string {
  if (inspection.prompt === undefined) return '';
  const tenths = isShort(inspection);
  const rows = stretchesOf(inspection).map(({ kind, tokens, segment, text }) => {
    const found = segment === undefined ? undefined : inspection.segments[segment];
    const what = {
      text: () => `<code>${escapeMarkup(text ?? '')}</code>`,
      global: () => 'global: the whole video',
      local: () =>
        found === undefined
          ? ''
          : `<a href="#segment-${segment! + 1}">${inspection.method.whole ? 'the whole video' : `segment ${segment! + 1}`}</a>, ${timeText(found.start, tenths)} to ${timeText(found.end, tenths)}`,
      ending: () => 'the end of the video',
    }[kind]();
    return `<tr><td><span class="dot ${kind}"></span>${kind}</td><td class="number">${tokens}</td><td>${what}</td></tr>`;
  });
  return `<details><summary>The prompt, part by part</summary><div class="scroll" tabindex="0" role="region" aria-label="The prompt, part by part"><table><thead><tr><th scope="col">Kind</th><th scope="col" class="number">Tokens</th><th scope="col">What</th></tr></thead><tbody>${rows.join('')}</tbody></table></div></details>`;
}

/** What is to be seen on frames: only of what there is. */
function legend({ segments, grid, tokens }: Inspection): string {
  if (grid === undefined || segments.every(({ owners, positions }) => owners === undefined && positions === undefined))
    return '';
  const sizes = segments.flatMap((segment) => segment.sizes);
  const covered = sizes.reduce((sum, size) => sum + size, 0);
  const areKnown = segments.every(({ owners }) => owners !== undefined);
  const keys = [
    sizes.some((size) => size > 1) && areKnown
      ? '<i class="swatch merged"></i>patches of one colour are one token, with how many it is the mean of'
      : '',
    sizes.some((size) => size > 1) && !areKnown
      ? '<i class="swatch merged"></i>where a token stands, with how many patches it is the mean of'
      : '',
    sizes.some((size) => size === 1) ? '<i class="swatch kept"></i>a patch that is a token of its own' : '',
    areKnown && covered < tokens.patches ? '<i class="swatch dropped"></i>dropped' : '',
  ].filter(Boolean);
  const list = keys.map((key) => `<span>${key}</span>`).join(' ');
  return `<p class="legend">${list} <label><input type="checkbox" id="paint" checked> paint tokens</label></p>`;
}

function segmentPart(inspection: Inspection, index: number): string {
  const { frames, sizes } = inspection.segments[index]!;
  const tenths = isShort(inspection);
  const figures = frames.map(({ time }, frame) => {
    const drawn = drawFrame(inspection, index, frame, { id: `f-${index + 1}-${frame + 1}`, width: 168 });
    return `<figure>${drawn}<figcaption>${timeText(time, tenths)}</figcaption></figure>`;
  });
  return `<details class="segment" id="segment-${index + 1}"${index === 0 ? ' open' : ''}>
<summary><h3>${escapeMarkup(titleOf(inspection, index))}</h3> <span>${sizes.length} tokens</span></summary>
<div class="frames">${figures.join('')}</div>
${both((width, id) => drawSizes(inspection, index, { width, id }), `sizes-${index + 1}`)}
</details>`;
}
