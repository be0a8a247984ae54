// Scenes as SVG. All text of others is escaped.
import type { Scene, Shape } from './scene.js';

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text as it may stand in HTML and XML, also in an attribute. Without the control characters that XML cannot hold. */
export function escapeMarkup(text: string): string {
  return text
    .replace(/(?![\t\n\r])[\p{Cc}\p{Cs}\ufffe\uffff]/gu, ' ')
    .replace(/[&<>"']/g, (character) => entities[character]!);
}

/**
 * A scene as the text of an SVG element. It takes the colour of text around it, and the style sheet's `--inspect-…` colours.
 * @param options `id`: unique on its page. `standalone`: a file of its own, which needs a colour and a ground. `fluid`: it takes the
 *   width that it is given, which is the default
 */
export function toSvg(
  { width, height, title, description, shapes }: Scene,
  options: { readonly id?: string; readonly standalone?: boolean } = {},
): string {
  const { id, standalone = false } = options;
  const [w, h] = [number(width), number(height)];
  const named = id === undefined ? '' : ` aria-labelledby="${escapeMarkup(id)}-title ${escapeMarkup(id)}-desc"`;
  const label = id === undefined ? ` aria-label="${escapeMarkup(`${title}. ${description}`)}"` : '';
  const mark = (end: string) => (id === undefined ? '' : ` id="${escapeMarkup(id)}-${end}"`);
  const role = shapes.some(leads) ? 'group' : 'img';
  const size = standalone ? ` width="${w}" height="${h}"` : ' width="100%"';
  const style = `font-family="system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"`;
  const ground = standalone ? `<style>${groundStyle}</style><rect class="ground" width="100%" height="100%"/>` : '';
  return (
    `<svg xmlns="http://www.w3.org/2000/svg"${size} viewBox="0 0 ${w} ${h}" role="${role}"${named}${label} ${style}>` +
    `<title${mark('title')}>${escapeMarkup(title)}</title><desc${mark('desc')}>${escapeMarkup(description)}</desc>` +
    `${ground}${shapes.map(shapeText).join('')}</svg>`
  );
}

const groundStyle =
  'svg{color:#1b1f24}.ground{fill:#fff}' +
  '@media (prefers-color-scheme:dark){svg{color:#e6e9ee}.ground{fill:#14171b}}';

const leads = (shape: Shape): boolean =>
  shape.kind === 'group' && (shape.href !== undefined || shape.shapes.some(leads));

function shapeText(shape: Shape): string {
  switch (shape.kind) {
    case 'rect': {
      const { x, y, width, height, color, opacity, radius } = shape;
      const round = radius === undefined ? '' : ` rx="${number(radius)}"`;
      return `<rect x="${number(x)}" y="${number(y)}" width="${number(width)}" height="${number(height)}"${round}${fill(color.css, opacity)}/>`;
    }
    case 'rects': {
      const { rects, color, opacity, token } = shape;
      if (rects.length === 0) return '';
      const path = rects.map(
        ({ x, y, width, height }) => `M${number(x)} ${number(y)}h${number(width)}v${number(height)}h${number(-width)}z`,
      );
      const owner = token === undefined ? '' : ` data-token="${number(token)}"`;
      return `<path d="${path.join('')}"${owner}${fill(color.css, opacity)}/>`;
    }
    case 'image': {
      const { x, y, width, height, href } = shape;
      if (!/^data:image\/(?:jpeg|png);base64,[A-Za-z0-9+/=]*$/.test(href)) return '';
      return `<image x="${number(x)}" y="${number(y)}" width="${number(width)}" height="${number(height)}" preserveAspectRatio="none" href="${href}"/>`;
    }
    case 'text': {
      const { x, y, text, size, anchor, bold, color, opacity } = shape;
      const at = anchor === undefined || anchor === 'start' ? '' : ` text-anchor="${anchor}"`;
      const weight = bold ? ' font-weight="600"' : '';
      return `<text x="${number(x)}" y="${number(y)}" font-size="${number(size)}"${at}${weight}${fill(color.css, opacity)}>${escapeMarkup(text)}</text>`;
    }
    case 'group': {
      const { x, y, shapes, title, href } = shape;
      const place = x === 0 && y === 0 ? '' : ` transform="translate(${number(x)} ${number(y)})"`;
      const inner = `${title === undefined ? '' : `<title>${escapeMarkup(title)}</title>`}${shapes.map(shapeText).join('')}`;
      const group = `<g${place}>${inner}</g>`;
      return href === undefined || !href.startsWith('#') ? group : `<a href="${escapeMarkup(href)}">${group}</a>`;
    }
  }
}

function fill(color: string, opacity: number | undefined): string {
  const part = opacity === undefined || opacity === 1 ? '' : ` fill-opacity="${number(opacity)}"`;
  return ` fill="${escapeMarkup(color)}"${part}`;
}

/** A number with at most two decimals. An inspection from elsewhere may hold anything. */
function number(value: number): string {
  return typeof value === 'number' && Number.isFinite(value) ? String(Math.round(value * 100) / 100) : '0';
}
