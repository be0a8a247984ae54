// Small helpers for the document.

type Child = Node | string | undefined | false;

/** A new element. Properties are set as they are; `class` and names with a hyphen are attributes. */
export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  properties: Readonly<Record<string, unknown>> = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (key === 'class' || key === 'role' || key.includes('-')) made.setAttribute(key, String(value));
    else Object.assign(made, { [key]: value });
  }
  for (const child of children) if (child) made.append(child);
  return made;
}

/** The element of the page with that id. */
export function byId<Type extends HTMLElement = HTMLElement>(id: string): Type {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`The page has no #${id}.`);
  return found as Type;
}

/** Tells people who hear the page. */
export function announce(text: string): void {
  byId('announcements').append(element('p', {}, text));
  while (byId('announcements').childElementCount > 6) byId('announcements').firstElementChild!.remove();
}

/** A text set only where it differs, so that nobody hears it twice. */
export function setText(target: HTMLElement, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

/** Draws what `svg` says, made by this package's own drawing code. */
export function drawing(svg: string): SVGElement {
  const parsed = new DOMParser().parseFromString(svg, 'image/svg+xml').documentElement;
  return document.importNode(parsed, true) as unknown as SVGElement;
}

/** Calls `work` once, `ms` after the last of several calls. */
export function afterPause(ms: number, work: () => void): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, ms);
  };
}
