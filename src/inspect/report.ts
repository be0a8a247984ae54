// An inspection as a file: a page, a drawing, a picture, or its JSON.
import { reportScene } from './draw/report.js';
import { toSvg } from './draw/svg.js';
import { inspectionPage } from './html.js';
import type { Inspection } from './inspection.js';
import type { Sight } from './inspectVideo.js';
import { paintScene } from './paint/paintScene.js';
import { encodePng } from './paint/png.js';

/** The kinds of files that there are of an inspection, as their names end. */
export const inspectionEndings = ['.html', '.svg', '.png', '.json'] as const;

export type InspectionEnding = (typeof inspectionEndings)[number];

/**
 * An inspection as the text of a file: `html` is a page that needs nothing else, `svg` a drawing.
 * @example
 * await writeFile('talk.html', inspectionFile(await inspectVideo(vlm, 'talk.mp4'), 'html'));
 */
export function inspectionFile(inspection: Inspection, kind: 'html' | 'svg'): string {
  if (kind === 'html') return inspectionPage(inspection);
  return `<?xml version="1.0" encoding="UTF-8"?>\n${toSvg(reportScene(inspection), { id: 'inspection', standalone: true })}\n`;
}

/** What is written into a file of that ending. */
export async function inspectionContent(
  { inspection, pictures }: Sight,
  ending: InspectionEnding,
  signal: AbortSignal | undefined,
): Promise<string | Uint8Array> {
  if (ending === '.json') return `${JSON.stringify(inspection)}\n`;
  if (ending === '.png') return encodePng(await paintScene(reportScene(inspection), pictures, { signal }));
  return inspectionFile(inspection, ending === '.html' ? 'html' : 'svg');
}
