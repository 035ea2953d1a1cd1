"""What travels inside a PNG: the mark that a machine made it, always; its recipe, where that is wanted.

Three texts, none of which touches a pixel: "tessera" (the recipe as JSON), "parameters" (the same in the form that
other tools show), and an XMP packet with IPTC's DigitalSourceType. Without the recipe only the mark is left.
No torch, no Django.
"""

import json
import re
from collections.abc import Mapping
from html import escape
from io import BytesIO
from typing import Any, BinaryIO

from generation.engines.params import NEEDS_SOURCE
from generation.engines.png_chunks import SIGNATURE, chunk, head_chunks, text_chunk, text_of

RECIPE, PARAMETERS, XMP = b"tessera", b"parameters", b"XML:com.adobe.xmp"
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED = "trainedAlgorithmicMedia"
CHANGED = "compositeWithTrainedAlgorithmicMedia"  # of a picture that no machine is known to have made
# labels of the "parameters" text, in its usual order
LABELS = {
    "steps": "Steps",
    "scheduler": "Sampler",
    "guidance": "CFG scale",
    "temperature": "Temperature",
    "seed": "Seed",
    "size": "Size",
    "checkpoint": "Model",
    "strength": "Denoising strength",
    "software": "Version",
}
# characters that no XML document may hold, however they are written
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about=""
 xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<xmp:CreatorTool>Tessera</xmp:CreatorTool>
<Iptc4xmpExt:DigitalSourceType>{source_type}</Iptc4xmpExt:DigitalSourceType>{description}
</rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""
DESCRIPTION = """
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{words}</rdf:li></rdf:Alt></dc:description>"""


def source_type_of(recipe: Mapping[str, Any]) -> str:
    """IPTC's word for where the picture comes from; recipes of earlier versions tell it by what was asked for."""
    known = recipe.get("digital_source_type")
    if known in (GENERATED, CHANGED):
        return str(known)
    return CHANGED if recipe.get("capability") in NEEDS_SOURCE else GENERATED


def dressed_head(stream: BinaryIO, recipe: Mapping[str, Any], *, with_recipe: bool) -> tuple[bytes, int]:
    """The start of the PNG with exactly these texts of ours, and the place from which on the file stays as it is.

    Raises ValueError when these are no PNG bytes.
    """
    parts = [SIGNATURE]
    for kind, payload in head_chunks(stream):
        if not any(text_of(kind, payload, keyword) is not None for keyword in (RECIPE, PARAMETERS, XMP)):
            parts.append(chunk(kind, payload))
        if kind == b"IHDR":
            parts += _texts(recipe, with_recipe=with_recipe)
    return b"".join(parts), stream.tell()


def png_with_recipe(png: bytes, recipe: Mapping[str, Any]) -> bytes:
    """The same picture with its mark and its recipe; older ones are replaced. Raises ValueError: no PNG."""
    head, rest = dressed_head(BytesIO(png), recipe, with_recipe=True)
    return head + png[rest:]


def png_without_recipe(png: bytes, recipe: Mapping[str, Any]) -> bytes:
    """The same picture with its mark alone. Raises ValueError when these are no PNG bytes."""
    head, rest = dressed_head(BytesIO(png), recipe, with_recipe=False)
    return head + png[rest:]


def recipe_of(png: bytes) -> dict[str, Any] | None:
    """The recipe inside, or None. Raises ValueError when these are no PNG bytes."""
    for kind, payload in head_chunks(BytesIO(png)):
        if (text := text_of(kind, payload, RECIPE)) is not None:
            recipe = json.loads(text)
            return recipe if isinstance(recipe, dict) else None
    return None


def parameters_text(recipe: Mapping[str, Any]) -> str:
    """The prompt, what shall not be seen, and one line of figures: the form that picture viewers of this trade show."""
    told = {**recipe, "size": f"{recipe.get('width')}x{recipe.get('height')}"}
    figures = [f"{label}: {told[name]}" for name, label in LABELS.items() if told.get(name) not in (None, "")]
    lines = [str(recipe.get("prompt", ""))]
    if recipe.get("negative_prompt"):
        lines.append(f"Negative prompt: {recipe['negative_prompt']}")
    return "\n".join([*lines, ", ".join(figures)])


def xmp_packet(recipe: Mapping[str, Any], *, with_recipe: bool) -> str:
    """Which tool, which kind of source; the prompt only together with the recipe."""
    words = escape(NOT_XML.sub("?", str(recipe.get("prompt", ""))), quote=False) if with_recipe else ""
    return PACKET.format(
        source_type=SOURCE_TYPES + source_type_of(recipe),
        description=DESCRIPTION.format(words=words) if words else "",
    )


def _texts(recipe: Mapping[str, Any], *, with_recipe: bool) -> list[bytes]:
    texts = [text_chunk(XMP, xmp_packet(recipe, with_recipe=with_recipe))]
    if with_recipe:
        document = json.dumps(recipe, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        texts += [text_chunk(PARAMETERS, parameters_text(recipe)), text_chunk(RECIPE, document)]
    return texts
