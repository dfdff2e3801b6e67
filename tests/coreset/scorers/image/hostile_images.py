"""Files that call themselves images and want something else: over a hundred of them, by name, with
what the one opener must say of each.
"""

import io
import struct
import tarfile
import zipfile
import zlib
from functools import cache

import numpy as np
from PIL import Image

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)


def encode(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *more, depth=8, color=2, data=b""):
    """Return a PNG that says it is so large, with further chunks before its data."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    end = chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + end


def small_png(*more):
    return png(2, 2, *more, data=bytes(14))


def eps(program, preview=False):
    text = (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\n"
        + program
        + b"\nshowpage\n%%EOF\n"
    )
    if not preview:
        return text
    return struct.pack("<IIIIIIIH", 0xC6D3D0C5, 30, len(text), 0, 0, 0, 0, 0xFFFF) + text  # DOS EPS


def tiff(tags, order="<", after=0, data=b""):
    """Return a TIFF of one directory of (tag, type, count, value)."""
    mark = b"II" if order == "<" else b"MM"
    body = struct.pack(order + "H", len(tags))
    for tag, kind, count, value in sorted(tags):
        body += struct.pack(order + "HHI", tag, kind, count)
        body += (
            struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
        )
    return mark + struct.pack(order + "HI", 42, 8) + body + struct.pack(order + "I", after) + data


def plain_tags(compression, width=4, height=4):
    return [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1),
            (273, 4, 1, 200), (277, 3, 1, 1), (278, 3, 1, height), (279, 4, 1, width * height)]  # fmt: skip


def gif(frames, width=1, height=1):
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(3) + b"\xff\xff\xff"
    one = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return head + one * frames + b";"


def linked_tiff(count, loop=False):
    """Return a TIFF of so many directories of a pixel each, the last of which may lead back to the
    first.
    """
    tags = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 0),
            (278, 3, 1, 1), (279, 4, 1, 1)]  # fmt: skip
    size = 2 + 12 * len(tags) + 4
    out = [b"II" + struct.pack("<HI", 42, 8)]
    body = tiff(tags)[8:-4]
    for i in range(count):
        after = 8 + (i + 1) * size if i + 1 < count else 8 if loop else 0
        out += [body, struct.pack("<I", after)]
    return b"".join(out)


def _renamed(marker):
    """Return programs and documents under the names of images; a program that is run writes the
    file `marker`.
    """
    write = f"({marker}) (w) file dup (ran) writestring closefile".encode()
    pipe = f"(%pipe%touch {marker}) (w) file closefile".encode()
    html = b"<html><script>fetch('http://localhost')</script></html>"
    svg = (
        b'<?xml version="1.0"?><svg'
        b' xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script><image'
        b' href="file:///etc/passwd"/></svg>'
    )
    with io.BytesIO() as held:
        with zipfile.ZipFile(held, "w") as archive:
            archive.writestr("../../x.png", b"x")
        zipped = held.getvalue()
    with io.BytesIO() as held:
        with tarfile.open(fileobj=held, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("/x.png"))
        tarred = held.getvalue()
    image = Image.fromarray(NOISE)
    yield "eps-writes", eps(write)
    yield "eps-pipe", eps(pipe)
    yield "eps-loop", eps(b"{} loop")
    yield "eps-dos-writes", eps(write, preview=True)
    yield "eps-dos-loop", eps(b"{} loop", preview=True)
    yield "eps-binary-mac", eps(write).replace(b"\n", b"\r")
    yield "eps-of-pillow", encode(image, "EPS")
    yield "ps-writes", b"%!PS\n" + write
    yield "ps-loop", b"%!PS-Adobe-2.0\n{} loop"
    yield "ps-exec", b"%!PS\nsystemdict begin (id) exec"
    yield "pdf", encode(image, "PDF")
    yield "pdf-launch", b"%PDF-1.4\n1 0 obj<</OpenAction<</S/Launch/F(/bin/sh)>>>>endobj\n%%EOF"
    yield "svg", svg
    yield (
        "svg-entities",
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><svg>&b;</svg>',
    )
    yield "svgz", zlib.compress(svg)
    yield "html", html
    yield "wmf", struct.pack("<IHHHHHHIH", 0x9AC6CDD7, 0, 0, 0, 100, 100, 96, 0, 0) + bytes(40)
    yield (
        "emf",
        struct.pack("<II", 1, 88) + struct.pack("<4i4i", *[0, 0, 10, 10] * 2) + b" EMF" + bytes(60),
    )
    yield (
        "mvg",
        (
            b"push graphic-context\nviewbox 0 0 640 480\nfill 'url(https://localhost/x|touch"
            b" x)'\npop graphic-context"
        ),
    )
    yield "msl", b'<?xml version="1.0"?><image><read filename="/etc/passwd"/></image>'
    yield "xpm", b'/* XPM */\nstatic char *x[] = {"1 1 1 1", "a c #000000", "a"};'
    yield "xbm", b"#define x_width 8\n#define x_height 1\nstatic char x_bits[] = {0x00};"
    yield "psd", b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 60_000, 60_000, 8, 3) + bytes(12)
    yield "fits", b"SIMPLE  =                    T".ljust(2880)
    yield "ico", encode(Image.new("RGB", (16, 16)), "ICO")
    yield "icns", b"icns" + struct.pack(">I", 16) + b"ic10" + struct.pack(">I", 8)
    yield "tga", encode(image, "TGA")
    yield "pcx", encode(image, "PCX")
    yield "sgi", encode(image, "SGI")
    yield "dds", encode(image, "DDS")
    yield "im", encode(image, "IM")
    yield "spider", encode(Image.new("F", (8, 8)), "SPIDER")
    yield "fli", struct.pack("<IHHHHH", 128, 0xAF12, 60_000, 8, 8, 8) + bytes(116)
    yield "mpeg", b"\x00\x00\x01\xb3" + bytes(20)
    yield "hdf5", b"\x89HDF\r\n\x1a\n" + bytes(60)
    yield "grib", b"GRIB" + bytes(3) + b"\x01" + bytes(60)
    yield "zip", zipped
    yield "tar", tarred
    yield "elf", b"\x7fELF" + bytes(200)
    yield "pickle", b"cos\nsystem\n(S'touch x'\ntR."
    yield "python", b"__import__('os').system('touch x')"
    yield "nothing-but-zeros", bytes(4096)
    yield "text", b"no picture"


def _too_large():
    yield "png-60000", png(60_000, 60_000)
    yield "png-largest", png(2**31 - 1, 2**31 - 1)
    yield "png-wide", png(2**31 - 1, 1)
    yield "png-bits", encode(Image.new("1", (20_000, 20_000)), "PNG")
    yield "png-16-bits", png(30_000, 30_000, depth=16)
    yield "gif-screen", gif(1, 65_535, 65_535)
    yield (
        "bmp",
        b"BM"
        + struct.pack(
            "<IHHIIiiHHIIiiII", 70, 0, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0
        ),
    )
    yield "ppm", b"P6 100000 100000 255\n"
    yield "pgm", b"P5 99999 99999 255\n"
    yield "pbm", b"P4 99999 99999\n"
    yield "pfm", b"Pf 99999 99999\n-1.0\n"
    yield "ppm-text", b"P3 100000 100000 255\n0 0 0"
    yield "tiff", tiff([(256, 4, 1, 60_000), (257, 4, 1, 60_000), *plain_tags(1)[2:]])
    yield "tiff-tile", tiff([*[t for t in plain_tags(8) if t[0] not in (273, 278, 279)], (322, 4, 1, 65_536),
                             (323, 4, 1, 65_536), (324, 4, 1, 200), (325, 4, 1, 16)], data=bytes(400))  # fmt: skip
    vp8x = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (16_382).to_bytes(3, "little") * 2
    yield "webp-canvas", b"RIFF" + struct.pack("<I", 4 + len(vp8x)) + b"WEBP" + vp8x
    jpeg = bytearray(encode(Image.new("RGB", (16, 16)), "JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 65_500, 65_500)
    yield "jpeg", bytes(jpeg)


def _bombs():
    """Return small files whose parts unpack to much, or that have many of them; any word is right
    that comes soon and takes no memory.
    """
    zeros = zlib.compress(bytes(2**27), 9)
    yield "png-text-bomb", small_png(chunk(b"zTXt", b"Comment\0\0" + zeros))
    yield "png-international-text-bomb", small_png(chunk(b"iTXt", b"x\0\1\0\0\0" + zeros))
    yield (
        "png-many-texts",
        small_png(*[chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(900_000), 9))] * 200),
    )
    yield "png-profile-bomb", small_png(chunk(b"iCCP", b"x\0\0" + zeros))
    yield "png-data-bomb", png(2, 2, data=bytes(2**27))
    yield "png-apng-lies", small_png(chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)))
    yield "gif-100000-frames", gif(100_000)
    yield "gif-frame-outside", gif(1).replace(b"\x2c\0\0\0\0", b"\x2c\xff\xff\xff\xff")
    yield "gif-interlaced-nothing", gif(0)
    yield "gif-code-size", gif(1).replace(b"\x02\x02\x44", b"\x0d\x02\x44")
    yield "gif-comment-bomb", gif(1)[:-1] + b"\x21\xfe" + (b"\xff" + b"a" * 255) * 20_000 + b"\0;"
    yield "tiff-50000-directories", linked_tiff(50_000)
    yield "tiff-loop", linked_tiff(3, loop=True)
    yield "tiff-own-tail", linked_tiff(1, loop=True)
    for word, number in (("g3", 2), ("g4", 4), ("lzw", 5), ("old-jpeg", 6), ("jpeg", 7), ("deflate", 8), ("packbits", 32_773),
                         ("thunder", 32_809), ("sgilog", 34_676), ("jbig", 34_661), ("lzma", 34_925), ("zstd", 50_000),
                         ("webp", 50_001), ("none-such", 12_345), ("zero", 0)):  # fmt: skip
        yield f"tiff-{word}", tiff(plain_tags(number), data=bytes(range(256)) * 2)
    yield (
        "tiff-many-samples",
        tiff(
            [*plain_tags(1)[:6], (277, 3, 1, 65_535), (278, 3, 1, 4), (279, 4, 1, 16)],
            data=bytes(400),
        ),
    )
    yield (
        "tiff-far-offset",
        tiff([(t, k, c, 2**31 if t == 273 else v) for t, k, c, v in plain_tags(1)]),
    )
    yield "tiff-long-count", tiff([*plain_tags(1), (270, 2, 2**31 - 1, 8)], data=bytes(400))
    yield "tiff-bigendian-nothing", tiff([], order=">")
    yield (
        "jpeg-comments",
        b"\xff\xd8" + (b"\xff\xfe" + struct.pack(">H", 65_535) + bytes(65_533)) * 50 + b"\xff\xd9",
    )
    yield (
        "jpeg-no-table",
        b"\xff\xd8\xff\xc0\0\x11\x08\0\x10\0\x10\x03\x01\x22\0\x02\x11\x01\x03\x11\x01\xff\xd9",
    )
    yield "ppm-comment", b"P6 #" + b"a" * 200_000
    yield "ppm-negative", b"P6 -1 -1 255\n"
    yield "ppm-zero", b"P6 0 0 255\n"
    yield "ppm-maximum", b"P6 2 2 99999999\n" + bytes(12)
    yield (
        "bmp-negative",
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 70, 0, 0, 54, 40, -5, -5, 1, 24, 0, 0, 0, 0, 0, 0),
    )
    yield (
        "bmp-palette",
        b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 70, 0, 0, 54, 40, 2, 2, 1, 8, 1, 0, 0, 0, 2**31 - 1, 0),
    )
    yield "webp-sizes", b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff" + bytes(40)
    yield "webp-nothing", b"RIFF\x04\0\0\0WEBP"
    yield "jp2-nothing", b"\x00\x00\x00\x0cjP  \x0d\x0a\x87\x0a" + bytes(60)
    yield "jp2-boxes", b"\x00\x00\x00\x0cjP  \x0d\x0a\x87\x0a" + b"\0\0\0\x08jp2h" * 5_000
    yield "avif-nothing", b"\0\0\0\x18ftypavif\0\0\0\0avifmif1" + bytes(100)
    yield "mpo-nothing", b"\xff\xd8\xff\xe2\0\x10MPF\0II*\0\xff\xff\xff\xff\0\0\xff\xd9"


def _truncated():
    for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM", "WEBP", "JPEG2000"):
        whole = encode(Image.fromarray(NOISE), form)
        for share in (0.2, 0.5, 0.9):
            yield f"{form.lower()}-cut-at-{share}", whole[: int(share * len(whole))]


@cache
def _of_any_marker():
    """Return the files that no program is in, with their statuses: made once for all tests."""
    anything = ("ok", "not_an_image", "truncated", "unreadable", "too_large", "unsupported")
    broken = ("truncated", "unreadable", "not_an_image")
    kinds = (("too_large",), _too_large()), (anything, _bombs()), (broken, _truncated())
    return {name: (data, statuses) for statuses, files in kinds for name, data in files}


def hostile(marker):
    """Return {name: (bytes, the statuses that are right)}; a program that is run writes the file
    `marker`.
    """
    return {name: (data, ("not_an_image",)) for name, data in _renamed(marker)} | _of_any_marker()
