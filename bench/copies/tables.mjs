// What count.mjs has counted, as text and as a table for the design page.

/** @param found sizes, and of each step who copied how much, and who asked for how much memory */
export function asText({ sizes, steps, from }) {
  const lines = Object.entries(sizes).map(([name, bytes]) => `${name}: ${bytes} bytes`);
  lines.push('', `calls for ${from} bytes and more:`);
  for (const { name, copies, memory } of steps) {
    lines.push('', name);
    for (const [kind, rows] of Object.entries({ copied: copies, 'new memory': memory }))
      lines.push(...rows.map((row) => `  ${kind}, ${row.who}: ${row.bytes} bytes in ${row.count} (${mostOf(row)})`));
  }
  return lines.join('\n');
}

function mostOf({ sizes }) {
  const parts = sizes.slice(0, 4).map(([size, times]) => `${times} × ${size}`);
  return [...parts, ...(sizes.length > 4 ? ['…'] : [])].join(', ');
}

/** The rows are those who copy data: V8's own, such as code that it compiles, are left out. */
export function asMarkdown({ sizes, steps, from }) {
  const names = Object.keys(sizes);
  const head = ['step', 'who', 'copies', 'bytes', ...names.map((name) => `× ${name}`), 'most of them', 'new memory'];
  const rows = steps.flatMap(({ name, copies, memory }) => {
    const all = [...new Set([...copies, ...memory].map(({ who }) => who))].filter((who) => !who.startsWith('V8'));
    return all.map((who) => {
      const of = (rows) => rows.find((row) => row.who === who) ?? { count: 0, bytes: 0, sizes: [] };
      const { count, bytes, sizes: all } = of(copies);
      return [
        name,
        who,
        count,
        bytes,
        ...names.map((size) => times(bytes, sizes[size])),
        mostOf({ sizes: all }),
        of(memory).bytes,
      ];
    });
  });
  return [
    `Calls for ${from} bytes and more. ${names.map((name) => `${name} ${sizes[name]}`).join(', ')} bytes.`,
    '',
    ...[head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`),
  ].join('\n');
}

const times = (bytes, size) => (bytes / size).toFixed(2);
