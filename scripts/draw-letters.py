"""Draws the letters that `longvlm inspect` writes into PNG files, and writes src/inspect/paint/letters.ts.

They are of Aileron, which is in the public domain (CC0) and comes with Pillow:

    python scripts/draw-letters.py
"""

import base64
import struct
import zlib
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIZE = 28
CHARACTERS = [chr(code) for code in [*range(32, 127), *range(161, 256)]] + list("–—‘’“”…")
BOX = "\u25a1"


def glyph(font: ImageFont.FreeTypeFont, character: str) -> bytes:
    """A letter as src/inspect/paint/font.ts reads it."""
    image = Image.new("L", (4 * SIZE, 4 * SIZE))
    base = 2 * SIZE
    draw = ImageDraw.Draw(image)
    if character == BOX:
        draw.rectangle([SIZE + 2, base - 18, SIZE + 15, base], outline=255, width=2)
        advance = 18.0
    else:
        draw.text((SIZE, base), character, fill=255, font=font, anchor="ls")
        advance = font.getlength(character)
    box = image.getbbox() or (SIZE, base, SIZE, base)
    values = [round(value / 17) for value in image.crop(box).tobytes()]
    if len(values) % 2 == 1:
        values.append(0)
    head = struct.pack(
        "<HBbbBB",
        ord(character),
        round(advance * 4),
        box[0] - SIZE,
        base - box[1],
        box[2] - box[0],
        box[3] - box[1],
    )
    return head + bytes(a << 4 | b for a, b in zip(values[::2], values[1::2], strict=True))


def main() -> None:
    """Writes the file."""
    font = ImageFont.load_default(SIZE)
    data = zlib.compress(b"".join(glyph(font, each) for each in [*CHARACTERS, BOX]), 9)
    text = base64.b64encode(data).decode()
    lines = [f"  '{text[at : at + 110]}'," for at in range(0, len(text), 110)]
    source = "\n".join(
        [
            "// Letters of the font Aileron (CC0), as scripts/draw-letters.py drew them: font.ts reads them.",
            "export const letters = [",
            *lines,
            "].join('');",
            "",
        ]
    )
    path = Path(__file__).parent.parent / "src/inspect/paint/letters.ts"
    path.write_text(source)


if __name__ == "__main__":
    main()
